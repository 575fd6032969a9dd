from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import driven
import pytest

import slither
from slither import Executor
from slither._driver import callee
from slither._types import Payload


@pytest.fixture(scope="module")
def executor(escript: Path) -> Iterator[Executor]:
    with Executor(max_workers=2) as started:
        yield started


def test_a_call_gets_its_arguments(beam: slither.Beam) -> None:
    future = beam.submit(driven.keywords, 1, [2], three="3")
    assert future.result() == [[1, [2]], {"three": "3"}]


def test_a_batch_is_an_argument_like_any_other(beam: slither.Beam) -> None:
    assert beam.submit(driven.total, [1, 2, 3]).result() == [6, 6, 6]


def test_many_calls_are_answered_each_to_its_own_future(beam: slither.Beam) -> None:
    futures = [beam.submit(driven.double, n) for n in range(500)]
    assert [future.result() for future in futures] == list(range(0, 1_000, 2))


def test_a_future_raises_what_the_function_raised(beam: slither.Beam) -> None:
    future = beam.submit(driven.no_fives, 5)
    with pytest.raises(ValueError, match="a five") as caught:
        future.result()
    assert "in no_fives" in str(caught.value.__cause__)


def test_an_argument_that_cannot_be_sent_fails_its_own_future(beam: slither.Beam) -> None:
    bad = beam.submit(driven.keywords, 0, {"a": range(1)})
    worse = beam.submit(driven.keywords, key=[range(1)])
    good = beam.submit(driven.double, 4)
    assert str(bad.exception()).startswith('args[1]["a"]: a range cannot be sent')
    assert str(worse.exception()).startswith('kwargs["key"][0]: a range cannot be sent')
    assert good.result() == 8


def test_a_result_that_cannot_be_sent_fails_its_own_future(beam: slither.Beam) -> None:
    bad, good = (beam.submit(driven.a_range, n) for n in (1, 2))
    assert isinstance(bad.exception(), slither.EncodeError)
    assert good.result() == 2


def test_a_worker_that_dies_fails_its_own_future(beam: slither.Beam) -> None:
    bad, good = beam.submit(driven.die, 3), beam.submit(driven.die, 4)
    assert isinstance(bad.exception(), slither.WorkerDied)
    assert good.result() == 4


def test_asyncio_awaits_a_future(beam: slither.Beam) -> None:
    async def main() -> list[int]:
        calls = (asyncio.wrap_future(beam.submit(driven.double, n)) for n in range(20))
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == list(range(0, 40, 2))


def test_a_future_calls_back(beam: slither.Beam) -> None:
    done: concurrent.futures.Future[int] = concurrent.futures.Future()
    beam.submit(driven.double, 4).add_done_callback(lambda f: done.set_result(f.result()))
    assert done.result(timeout=60) == 8


@pytest.mark.parametrize("chunksize", [1, 7, 1_000])
def test_map_is_in_order(executor: Executor, chunksize: int) -> None:
    assert list(executor.map(driven.double, range(100), chunksize=chunksize)) == list(
        range(0, 200, 2)
    )


def test_map_takes_several_iterables(executor: Executor) -> None:
    assert list(executor.map(pow, [2, 3, 4], [5, 2])) == [32, 9]


def test_map_raises_at_the_item_that_failed(executor: Executor) -> None:
    results = executor.map(driven.no_fives, range(10), chunksize=4)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="a five"):
        next(results)


def test_map_reads_its_input_at_once_or_as_far_as_it_is_told(executor: Executor) -> None:
    pulled: list[int] = []

    def numbers(stop: int | None) -> Iterator[int]:
        for n in itertools.count() if stop is None else range(stop):
            pulled.append(n)
            yield n

    executor.map(driven.double, numbers(20), chunksize=2)
    assert len(pulled) == 20
    pulled.clear()
    lazy = executor.map(driven.double, numbers(None), chunksize=2, buffersize=3)
    assert len(pulled) == 6
    assert next(lazy) == 0
    assert len(pulled) == 8


def test_map_gives_up_at_its_timeout(executor: Executor, tmp_path: Path) -> None:
    paths = [str(tmp_path / "began"), str(tmp_path / "go on")]
    results = executor.map(driven.wait_for, [paths], timeout=0.1)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    (tmp_path / "go on").touch()


def test_calls_that_no_worker_has_can_be_cancelled(escript: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    executor = Executor(max_workers=1)
    first = executor.submit(driven.wait_for, [str(tmp_path / "began"), str(go_on)])
    others = [executor.submit(driven.double, n) for n in range(20)]
    assert others[-1].cancel()
    executor.shutdown(wait=False, cancel_futures=True)
    go_on.touch()
    assert first.result() == str(tmp_path / "began")
    finished = [future for future in others if not future.cancelled()]
    assert len(finished) < 10
    assert [future.result() for future in finished] == [2 * n for n in range(len(finished))]


def test_shutdown_waits_for_what_is_out_and_takes_no_more(escript: Path) -> None:
    executor = Executor(max_workers=1)
    futures = [executor.submit(driven.double, n) for n in range(50)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert futures[-1].result() == 98
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(driven.double, 1)


def test_the_initializer_runs_in_each_worker_first(escript: Path) -> None:
    with Executor(2, initializer=driven.note, initargs=("hello",)) as executor:
        assert executor.submit(driven.noted, None).result() == ["hello"]


@pytest.mark.parametrize(("workers", "most"), [(2, 1), (1, 3)])
def test_no_worker_takes_more_calls_than_it_may(escript: Path, workers: int, most: int) -> None:
    with Executor(workers, max_tasks_per_child=most) as executor:
        futures = [executor.submit(driven.pid, None) for _ in range(9)]
        counts = Counter(future.result() for future in futures)
        assert max(counts.values()) <= most
        chunks = Counter(executor.map(driven.pid, range(8), chunksize=4))
        assert max(chunks.values()) <= 4 * most


@pytest.mark.parametrize(
    ("count", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)]
)
def test_a_limit_of_calls_that_is_none_is_refused(count: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_tasks_per_child takes"):
        Executor(1, max_tasks_per_child=count)


def test_an_executor_of_a_beam_leaves_it_open(beam: slither.Beam) -> None:
    with Executor(beam=beam) as executor:
        assert executor.submit(driven.double, 1).result() == 2
    assert beam.submit(driven.double, 2).result() == 4
    with pytest.raises(ValueError, match="belong to the Beam"):
        Executor(3, beam=beam)


def test_workers_are_other_processes(executor: Executor) -> None:
    assert executor.submit(driven.pid, None).result() != os.getpid()


def test_a_partial_goes_by_its_function_and_its_arguments(escript: Path) -> None:
    with Executor(max_workers=1, by_value=False) as executor:
        keywords = functools.partial(driven.keywords, 1, two=2)
        assert executor.submit(keywords).result() == [[1], {"two": 2}]
        assert executor.submit(keywords, 3, two=4).result() == [[1, 3], {"two": 4}]
        nested = functools.partial(keywords, 5, six=6)
        assert list(executor.map(nested, [7, 8], chunksize=2)) == [
            [[1, 5, 7], {"two": 2, "six": 6}],
            [[1, 5, 8], {"two": 2, "six": 6}],
        ]
        with pytest.raises(slither.NotImportable, match="a lambda"):
            executor.submit(functools.partial(lambda: 0))
        bad = executor.submit(functools.partial(driven.keywords, driven.Box()))
        assert str(bad.exception()).startswith("args[0]: a Box cannot be sent")


def test_a_beam_calls_a_partial_and_maps_none(beam: slither.Beam) -> None:
    assert beam.submit(functools.partial(driven.double, 4)).result() == 8
    call = beam.submit_with(functools.partial(driven.keywords, 1), (2,), session="partial")
    assert call.result() == [[1, 2], {}]
    with pytest.raises(slither.NotImportable, match="a partial of double"):
        list(beam.map(functools.partial(driven.double), [1]))


def test_places_that_a_partial_leaves_free_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    later = object()
    monkeypatch.setattr(callee, "_LATER", later)
    assert callee.filled((1, later, 3, later), (2, 4, 5)) == (1, 2, 3, 4, 5)
    with pytest.raises(TypeError, match="1 of their arguments"):
        callee.filled((later, later), (1,))


def test_an_executor_takes_what_the_standard_one_takes(escript: Path) -> None:
    with Executor(1, None, driven.note, ("begun",)) as executor:
        assert executor.submit(driven.noted, 0).result() == ["begun"]


def test_a_map_submits_by_what_stands_in_for_submit(escript: Path) -> None:
    seen: list[bool] = []
    with Executor(max_workers=1) as executor:
        submit = executor.submit

        def watched(*arguments: Payload) -> concurrent.futures.Future[Payload]:
            future = submit(*arguments)
            future.add_done_callback(lambda future: seen.append(future.cancelled()))
            return future

        executor.submit = watched  # type: ignore[method-assign, assignment]
        assert list(executor.map(driven.double, range(6), chunksize=2)) == [0, 2, 4, 6, 8, 10]
        assert seen == [False] * 3
