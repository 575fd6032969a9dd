from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import driven
import pooled
import pytest

import slither
from slither import Pipe, item
from slither._driver import batching
from slither._types import Payload
from slither._wire import batches
from slither.pipe import retry, route

PATIENCE = 60.0


def test_results_are_in_the_order_of_the_items(beam: slither.Beam) -> None:
    assert list(beam.map(driven.double, range(1_000), batch_size=7)) == list(range(0, 2_000, 2))


def test_as_completed_gives_every_result_once(beam: slither.Beam) -> None:
    got = beam.map(driven.double, range(1_000), batch_size=7, ordering="as_completed")
    assert sorted(got) == list(range(0, 2_000, 2))


class TestSeveralIterables:
    def test_a_function_gets_an_item_of_each(self, beam: slither.Beam) -> None:
        assert list(beam.map(pow, [2, 3, 4], [5, 2])) == [32, 9]
        assert list(beam.map(driven.three, itertools.count(), "ab", [1.5, None])) == [
            [0, "a", 1.5],
            [1, "b", None],
        ]
        results = beam.map(pow, range(100), itertools.repeat(2), batch_size=7)
        assert list(results) == [n * n for n in range(100)]
        assert results.summary.items == 100

    def test_an_error_is_its_items_own(self, beam: slither.Beam) -> None:
        got = list(beam.map(divmod, [4, 4, 4], [2, 0, 4], on_error="return", batch_size=3))
        assert got[0] == (2, 0)
        assert isinstance(got[1], ZeroDivisionError)
        assert got[2] == (1, 0)

    def test_what_an_iterable_raises_is_raised_after_the_results_before(
        self, beam: slither.Beam
    ) -> None:
        def failing() -> Iterator[int]:
            yield 2
            raise OSError("no more")

        results = beam.map(pow, [3, 3], failing())
        assert next(results) == 9
        with pytest.raises(OSError, match="no more"):
            next(results)

    def test_asynchronous_ones_may_be_among_them(self, beam: slither.Beam) -> None:
        async def numbers() -> AsyncIterator[int]:
            for n in range(1_000):
                yield n

        async def use() -> list[list[int]]:
            mixed = [r async for r in beam.amap(pow, numbers(), [1, 2, 3])]
            plain = [r async for r in beam.amap(pow, [2, 2], [1, 2])]
            return [mixed, plain]

        assert asyncio.run(use()) == [[0, 1, 8], [2, 4]]

    def test_a_function_of_a_list_is_refused(self, beam: slither.Beam) -> None:
        with pytest.raises(
            TypeError, match=r"several iterables go with.*batch_handler"
        ) as caught:
            beam.map(driven.total, [1], [2])  # type: ignore[arg-type]
        assert "each=" not in str(caught.value)
        with pytest.raises(TypeError, match="each=False is for a function of a list"):
            beam.map(pow, [1], [2], each=False)  # type: ignore[call-overload]


def test_a_map_of_a_session_runs_in_one_worker_in_order(beam: slither.Beam) -> None:
    found = list(beam.map(pooled.count, "abcdef", session="mapped", batch_size=2))
    assert len({worker for worker, _words in found}) == 1
    assert found[-1][1] == list("abcdef")
    assert beam.submit_with(pooled.words, session="mapped").result() == list("abcdef")
    beam.end_session("mapped")
    assert next(beam.map(pooled.count, "a", session="mapped"))[1] == ["a"]
    beam.end_session("mapped")
    with pytest.raises(ValueError, match="session is a str"):
        beam.map(pooled.count, "a", session="")


@pytest.mark.parametrize("on_error", ["skip", "return"])
@pytest.mark.parametrize("bad", [1, 9, 300])
def test_items_that_cannot_be_sent_leave_room_for_the_others(
    beam: slither.Beam, on_error: str, bad: int
) -> None:
    items: list[Payload] = [*[object()] * bad, 1, *[object()] * bad, 2]
    for most in (1, None):
        got = list(beam.map(driven.echo, items, on_error=on_error, max_in_flight=most))  # type: ignore[call-overload]
        assert [value for value in got if not isinstance(value, Exception)] == [1, 2]
        assert len(got) == (2 if on_error == "skip" else 2 * bad + 2)


def test_no_items_give_no_results(beam: slither.Beam) -> None:
    results = beam.map(driven.double, [])
    assert list(results) == []
    assert results.summary.items == 0


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_an_infinite_input_is_pulled_no_further_than_the_window(
    beam: slither.Beam, batch_size: int
) -> None:
    pulled = itertools.count()
    last = 0

    def numbers() -> Iterator[int]:
        nonlocal last
        while True:
            last = next(pulled)
            yield last

    results = beam.map(driven.double, numbers(), batch_size=batch_size, max_in_flight=4)
    for n, result in enumerate(itertools.islice(results, 1_000)):
        assert result == 2 * n
        assert last < n + 5 * batch_size


def test_nothing_is_pulled_before_a_result_is_asked_for(beam: slither.Beam) -> None:
    pulled: list[int] = []

    def numbers() -> Iterator[int]:
        pulled.append(1)
        yield 1

    results = beam.map(driven.double, numbers())
    assert pulled == []
    results.close()
    assert list(results) == []


def test_a_result_comes_while_the_input_waits_for_it(beam: slither.Beam) -> None:
    seen = threading.Event()

    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        assert seen.is_set()
        yield 3

    results = beam.map(driven.double, numbers(), batch_size=2, max_in_flight=1)
    for _ in results:
        seen.set()


def test_halt_raises_what_the_function_raised_after_the_results_before_it(
    beam: slither.Beam,
) -> None:
    got: list[int] = []
    results = beam.map(driven.no_fives, range(10), batch_size=4)
    with pytest.raises(ValueError, match="a five") as caught:
        got.extend(results)
    assert got == [0, 1, 2, 3, 4]
    assert caught.value.args == ("a five", 5)
    assert "in no_fives" in str(caught.value.__cause__)
    assert results.summary.outputs == {"results": 5}
    assert results.summary.errors == {"ValueError": 1}


def test_skip_leaves_failed_items_out(beam: slither.Beam) -> None:
    results = beam.map(driven.no_fives, range(30), batch_size=4, on_error="skip")
    assert list(results) == [n for n in range(30) if n % 10 != 5]
    assert (results.summary.items, results.summary.skipped) == (30, 3)


def test_return_gives_exceptions_in_their_places(beam: slither.Beam) -> None:
    got = list(beam.map(driven.no_fives, range(10), batch_size=4, on_error="return"))
    assert isinstance(got[5], ValueError)
    assert got[:5] + got[6:] == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_retry_tries_again(beam: slither.Beam, tmp_path: Path) -> None:
    results = beam.map(
        driven.once_failed,
        [str(tmp_path / "a"), str(tmp_path / "b")],
        batch_size=64,
        on_error=retry(max_attempts=2, base=0.001),
    )
    assert list(results) == ["mended", "mended"]
    assert results.summary.retries == 1


def test_an_exception_class_of_this_program_is_raised_again(beam: slither.Beam) -> None:
    with pytest.raises(driven.OurError) as caught:
        list(beam.map(driven.ours, [7]))
    assert caught.value.code == 7


def test_an_exception_names_its_file_here_too(beam: slither.Beam) -> None:
    with pytest.raises(FileNotFoundError, match="No such file or directory: '/no/ü'") as caught:
        list(beam.map(os.listdir, ["/no/ü"]))
    assert (caught.value.errno, caught.value.filename) == (2, "/no/ü")
    with pytest.raises(FileNotFoundError, match="'/no/a' -> '/no/b'"):
        beam.submit(os.rename, "/no/a", "/no/b").result(PATIENCE)


def test_the_end_of_an_iterator_is_no_end_of_the_results(beam: slither.Beam) -> None:
    with pytest.raises(slither.HandlerError, match="StopIteration"):
        list(beam.map(driven.exhaust, [0]))

    async def wait() -> Payload:
        return await asyncio.wait_for(
            asyncio.wrap_future(beam.submit(driven.exhaust, 0)), PATIENCE
        )

    # From 3.12.1 on, it is asyncio that turns it into another error.
    with pytest.raises((slither.HandlerError, RuntimeError), match="StopIteration"):
        asyncio.run(wait())


def test_an_exception_that_takes_other_arguments_than_it_has_is_itself(
    beam: slither.Beam,
) -> None:
    with pytest.raises(driven.OddError) as caught:
        list(beam.map(driven.odd, [7]))
    assert caught.value.args == ("odd", "arguments")
    assert "in odd" in str(caught.value.__cause__)


def test_a_failure_is_told_with_its_reason(beam: slither.Beam) -> None:
    with pytest.raises(slither.CallError) as caught:
        list(beam.map(driven.refuse, [7]))
    assert (caught.value.kind, caught.value.item) == ("handler_failure", 0)
    assert caught.value.facts["reason"] == {"refused": 7}


def test_sys_exit_fails_the_item_and_not_the_worker(beam: slither.Beam) -> None:
    with pytest.raises(slither.HandlerError, match="SystemExit: no more"):
        list(beam.map(driven.exit_now, [1]))


@pytest.mark.parametrize("on_error", ["halt", "skip", "return"])
def test_an_item_that_cannot_be_sent_fails_alone(beam: slither.Beam, on_error: Payload) -> None:
    items: list[Payload] = [0, 1, {"when": range(2)}, 3, range(4)]
    results = beam.map(driven.echo, items, batch_size=3, on_error=on_error)
    got: list[Payload] = []
    if on_error == "halt":
        with pytest.raises(slither.EncodeError, match=r'^items\[2\]\["when"\]: a range cannot'):
            got.extend(results)
        assert got == [0, 1]
    else:
        got.extend(results)
        shown = [item.path if isinstance(item, slither.EncodeError) else item for item in got]
        refused = ['items[2]["when"]', "items[4]"] if on_error == "return" else []
        assert shown == [0, 1, *refused[:1], 3, *refused[1:]]
    assert results.summary.errors["not_encodable"] == (1 if on_error == "halt" else 2)


def test_a_result_that_cannot_be_sent_fails_alone(beam: slither.Beam) -> None:
    got = list(beam.map(driven.a_range, range(3), on_error="return"))
    assert got[0] == 0
    assert got[2] == 2
    assert str(got[1]).startswith('result["tags"]: a range cannot be sent')


def test_a_batch_too_large_for_a_frame_goes_in_parts(
    beam: slither.Beam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LIMIT", 1_000)
    items = ["x" * 400, "y" * 400, "z" * 900, "a", "b"] * 3
    assert list(beam.map(driven.echo, items, batch_size=10)) == items
    huge = ["x" * 400, "y" * 2_000, "z" * 900, "a"]
    with pytest.raises(slither.EncodeError, match=r"items\[1\]: 2003 bytes cannot be sent at on"):
        list(beam.map(driven.echo, huge))
    assert list(beam.map(driven.echo, huge, on_error="skip")) == [huge[0], *huge[2:]]
    with pytest.raises(slither.EncodeError, match="args: 2006 bytes"):
        beam.submit(driven.echo, huge[1]).result(PATIENCE)


def test_large_items_are_pulled_no_further_than_their_bytes_allow(
    beam: slither.Beam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MOST_BYTES", 5_000)
    pulled = 0

    def pull() -> Iterator[str]:
        nonlocal pulled
        while True:
            pulled += 1
            yield "x" * 1_000

    results = beam.map(driven.echo, pull(), batch_size=2, max_in_flight=50)
    for taken in range(1, 201):
        next(results)
        assert pulled <= taken + 8
    results.close()


def test_an_input_that_raises_midway_keeps_what_came_before(beam: slither.Beam) -> None:
    def numbers() -> Iterator[int]:
        yield from range(10)
        raise LookupError("the file ends here")

    got: list[int] = []
    with pytest.raises(LookupError, match="ends here"):
        got.extend(beam.map(driven.double, numbers(), batch_size=4))
    assert got == list(range(0, 20, 2))


def test_a_worker_that_dies_fails_its_batch_alone(beam: slither.Beam) -> None:
    got = list(beam.map(driven.die, range(8), batch_size=2, on_error="return"))
    assert [item for item in got if isinstance(item, int)] == [0, 1, 4, 5, 6, 7]
    assert all(isinstance(item, slither.WorkerDied) for item in got[2:4])


def test_isolate_finds_the_item_that_kills_its_worker(beam: slither.Beam) -> None:
    got = list(beam.map(driven.die, range(8), batch_size=8, isolate=True, on_error="skip"))
    assert got == [0, 1, 2, 4, 5, 6, 7]


def test_a_call_that_takes_too_long_is_a_timeout(beam: slither.Beam) -> None:
    with pytest.raises(TimeoutError) as caught:
        list(beam.map(driven.hang, [600.0], timeout=0.2))
    error = caught.value
    assert isinstance(error, slither.CallTimeout)
    assert str(error).startswith(
        "the call ran for more than 0.2 s; its worker was killed (raise timeout="
    )
    assert error.facts["timeout"] == 0.2
    assert "ms" not in str(error).split()
    assert "timeout:" not in str(error)


def test_an_item_over_its_time_fails_alone(beam: slither.Beam) -> None:
    results = beam.map(
        driven.hangs_at_three, range(8), batch_size=8, item_timeout=0.5, on_error="return"
    )
    got = list(results)
    late = got.pop(3)
    assert got == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(late, slither.CallTimeout)
    assert late.item == 3
    assert late.facts["timeout"] == 0.5
    assert "the item ran for more than 0.5 s; its worker was killed (raise item_timeout=" in str(
        late
    )


def test_items_before_the_one_that_halts_a_map_come_out(beam: slither.Beam) -> None:
    results = beam.map(driven.hangs_at_three, range(8), batch_size=8, item_timeout=0.5)
    got: list[int] = []
    with pytest.raises(slither.CallTimeout):
        got.extend(results)
    assert got == [0, 1, 2]


def test_a_batch_handler_takes_lists(beam: slither.Beam) -> None:
    assert list(beam.map(driven.total, range(5), batch_size=2)) == [1, 1, 5, 5, 4]


def test_a_batch_handler_that_loses_a_result_fails_its_batch(beam: slither.Beam) -> None:
    with pytest.raises(slither.CallError, match="2 results for 3 items") as caught:
        list(beam.map(driven.short, range(3), batch_size=3))
    assert caught.value.kind == "wrong_result"


def test_a_builtin_can_be_mapped(beam: slither.Beam) -> None:
    assert list(beam.map(str.upper, ["a", "b"])) == ["A", "B"]
    assert list(beam.map(driven.Box.plain, [1])) == [-1]


def test_the_trace_reaches_the_function(beam: slither.Beam) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert list(beam.map(driven.trace, [0], trace=trace)) == [trace]


def test_runs_share_the_workers(beam: slither.Beam) -> None:
    one, two = (beam.map(driven.double, itertools.count(start)) for start in (0, 1_000))
    for n in range(300):
        assert (next(one), next(two)) == (2 * n, 2_000 + 2 * n)


def test_threads_wait_side_by_side(beam: slither.Beam) -> None:
    sums: dict[int, int] = {}

    def run(start: int) -> None:
        sums[start] = sum(beam.map(driven.double, range(start, start + 500), batch_size=10))

    threads = [threading.Thread(target=run, args=(1_000 * n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == {1_000 * n: sum(range(2_000 * n, 2_000 * n + 1_000, 2)) for n in range(6)}


def test_a_run_that_was_given_up_has_its_account_so_far(beam: slither.Beam) -> None:
    results = beam.map(driven.echo, itertools.count(), batch_size=1, max_in_flight=1)
    assert results.summary.seconds == 0.0
    next(results)
    results.close()
    summary = results.summary
    assert summary.outputs == {"results": 1}
    assert 0 < summary.seconds == results.summary.seconds
    assert "calls" not in str(summary)


def test_closing_midway_stops_the_run(beam: slither.Beam) -> None:
    results = beam.map(driven.double, itertools.count())
    assert next(results) == 0
    results.close()
    assert list(beam.map(driven.double, [1])) == [2]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("batch_size", 0, "a whole number from 1 to 1,000,000, or 'auto', not 0"),
        (
            "batch_size",
            10**30,
            "batch_size is a whole number from 1 to 1,000,000, or 'auto', not 1",
        ),
        ("batch_time", 0, "batch_time is a number of seconds above 0, of 49 days at most, not 0"),
        (
            "batch_time",
            5e6,
            "batch_time is a number of seconds above 0, of 49 days at most, not 5",
        ),
        ("isolate", 1, "isolate is True or False, not 1"),
        ("progress", "no", "progress is True or False, not 'no'"),
        ("trace", 7, "trace is a str, not 7"),
        ("max_in_flight", True, "max_in_flight is a whole number"),
        ("ordering", "sorted", "ordering is one of 'preserve', 'as_completed', not 'sorted'"),
        ("on_error", "ignore", "on_error is one of 'halt', 'skip', 'return', not 'ignore'"),
        ("on_error", route("bad"), "a map has no outputs to route to"),
        ("on_error", retry(then=route("bad")), "a map has no outputs to route to"),
        (
            "timeout",
            0,
            "timeout is a number of seconds above 0, of 49 days at most, or None, not 0",
        ),
        (
            "item_timeout",
            "1",
            "item_timeout is a number of seconds above 0, of .* or None, not '1'",
        ),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_at_once(
    beam: slither.Beam, option: str, value: Payload, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        beam.map(driven.double, [1], **{option: value})


def test_a_batch_time_beside_a_size_is_refused(beam: slither.Beam) -> None:
    for run in (beam.map, beam.amap):
        with pytest.raises(ValueError, match=r"batch_time finds .* batch_size=7 sets it"):
            run(driven.double, [1], batch_size=7, batch_time=0.05)
    with pytest.raises(slither.PipeError, match=r"'batch_time' finds .* 'batch_size' sets it"):
        slither.Pipe("p").python("s", driven.double, batch_size=7, batch_time=0.05)
    slither.Pipe("p").python("s", driven.double, batch_size="auto", batch_time=0.05)
    assert list(beam.map(driven.double, [1], batch_size=None, batch_time=0.05)) == [2]


def test_a_function_that_the_worker_cannot_import_is_told(beam: slither.Beam) -> None:
    driven.double.__module__, before = "driven_elsewhere", driven.double.__module__
    try:
        with pytest.raises(slither.CallError, match="no module is named 'driven_elsewhere'"):
            list(beam.map(driven.double, [1]))
    finally:
        driven.double.__module__ = before


def test_what_workers_print_comes_out_here(
    beam: slither.Beam, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    list(beam.map(driven.say, ["hello"]))
    out, err = capfd.readouterr()
    assert "out hello\n" in out
    assert "err hello\n" in err
    assert ("driven", 30, "log hello") in caplog.record_tuples


def test_a_worker_s_record_is_the_record_that_arrives(
    beam: slither.Beam, caplog: pytest.LogCaptureFixture
) -> None:
    before = time.time()
    ((path, line, process),) = beam.map(driven.report, ["pay"])
    (record,) = (record for record in caplog.records if record.name == "driven.report")
    assert (record.pathname, record.lineno, record.funcName) == (path, line, "run")
    assert (record.filename, record.module) == ("driven.py", "driven")
    assert (record.process, record.processName) == (process, "MainProcess")
    assert process != os.getpid()
    assert (record.threadName, record.levelname) == ("reporter", "ERROR")
    assert before <= record.created <= time.time()
    assert (record.order, record.tags) == (17, ["a", None])  # type: ignore[attr-defined]
    assert not hasattr(record, "lock")
    assert record.getMessage() == "could not pay"
    own = vars(record)
    assert (own["worker"] in (0, 1), own["os_pid"], own["batch"]) == (True, process, 0)
    assert own["pool"]
    assert own["run"].startswith("run-")
    shown = logging.Formatter().format(record)
    assert shown.startswith("could not pay\nTraceback (most recent call last):\n")
    assert "ValueError: pay\nStack (most recent call last):\n" in shown


def test_a_record_has_the_trace_of_its_call_and_comes_once(
    beam: slither.Beam, caplog: pytest.LogCaptureFixture
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    list(beam.map(driven.say, ["traced"], trace=trace))
    (record,) = (record for record in caplog.records if record.getMessage() == "log traced")
    assert vars(record)["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert len(vars(record)["span_id"]) == 16


## asyncio


def test_async_results_are_in_order(beam: slither.Beam) -> None:
    async def main() -> list[int]:
        return [n async for n in beam.amap(driven.double, range(300), batch_size=7)]

    assert asyncio.run(main()) == list(range(0, 600, 2))


def test_an_async_input_is_pulled_no_further_than_the_window(beam: slither.Beam) -> None:
    last = 0

    async def numbers() -> AsyncIterator[int]:
        nonlocal last
        for last in itertools.count():
            await asyncio.sleep(0)
            yield last

    async def main() -> None:
        results = beam.amap(driven.double, numbers(), batch_size=3, max_in_flight=4)
        n = 0
        async for result in results:
            assert result == 2 * n
            assert last < n + 5 * 3
            n += 1
            if n == 200:
                break
        await results.aclose()

    asyncio.run(main())


def test_async_results_come_while_the_input_waits_for_them(beam: slither.Beam) -> None:
    same = Pipe("same").beam("same", item)

    async def count(results: AsyncIterator[Payload], queue: asyncio.Queue[int]) -> None:
        async for result in results:
            queue.put_nowait(result[1] + 1 if isinstance(result, tuple) else result + 1)

    async def until(queue: asyncio.Queue[int], end: int) -> AsyncIterator[int]:
        while (number := await queue.get()) < end:
            yield number

    async def run() -> None:
        for start in (
            lambda items: beam.amap(driven.echo, items),
            lambda items: beam.astream(same, items),
        ):
            queue: asyncio.Queue[int] = asyncio.Queue()
            queue.put_nowait(0)
            await asyncio.wait_for(count(start(until(queue, 20)), queue), PATIENCE)
            assert queue.empty()

    asyncio.run(run())


def test_an_async_input_that_is_a_run_itself_raises_its_error(beam: slither.Beam) -> None:
    async def run() -> list[Payload]:
        inner = beam.amap(driven.refuse, [1])
        return [result async for result in beam.amap(driven.echo, inner)]

    with pytest.raises(slither.CallError, match="refused"):
        asyncio.run(run())


def test_an_async_run_raises_what_the_function_or_the_input_raised(beam: slither.Beam) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 0
        raise LookupError("the source is gone")

    async def main() -> None:
        got: list[int] = []

        async def gather(results: AsyncIterator[int]) -> None:
            async for n in results:
                got.append(n)

        with pytest.raises(ValueError, match="a five"):
            await gather(beam.amap(driven.no_fives, range(10), batch_size=4))
        assert got == [0, 1, 2, 3, 4]
        with pytest.raises(LookupError, match="source is gone"):
            await gather(beam.amap(driven.double, numbers()))
        assert got[5:] == [0]

    asyncio.run(main())


def test_async_runs_share_a_loop(beam: slither.Beam) -> None:
    async def one(start: int) -> int:
        numbers = beam.amap(driven.double, range(start, start + 200), batch_size=5)
        return sum([n async for n in numbers])

    async def main() -> list[int]:
        return await asyncio.gather(*map(one, range(8)))

    assert asyncio.run(main()) == [sum(range(2 * n, 2 * n + 400, 2)) for n in range(8)]
