from __future__ import annotations

from collections.abc import Iterator

import pytest
from peer import Worker

from slither._types import Payload
from slither._wire import frames
from slither._worker.yielded import Stream, TooManyError

AHEAD = 4


def function(name: str) -> list[str]:
    return ["function", "stream_handlers", name]


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(ahead=AHEAD) as started:
        yield started.ready()


def collect(worker: Worker, name: str, items: list[Payload]) -> tuple[list[Payload], Payload]:
    """Take every part as it comes; the results, and the frame that ended the call."""
    identity = worker.call(function(name), items)
    results: list[Payload] = []
    errors: dict[int, Payload] = {}
    while isinstance(got := worker.read(), frames.Part):
        assert (got.id, got.index) == (identity, len(results)), got
        assert got.results
        results += got.results
        errors.update(got.errors or {})
        worker.send(frames.CREDIT, identity, len(got.results))
    if isinstance(got, frames.Result):
        results += got.results
        errors.update(got.errors or {})
    assert isinstance(got, frames.Result | frames.Error)
    assert got.id == identity
    return [errors.get(at, result) for at, result in enumerate(results)], got


def told(worker: Worker) -> list[str]:
    return worker.results(function("told"), [0])[0]  # type: ignore[no-any-return]


class TestParts:
    @pytest.mark.parametrize("name", ["steps", "async_steps"])
    def test_a_result_is_sent_before_the_next_is_begun(self, worker: Worker, name: str) -> None:
        identity = worker.call(function(name), [1, 2, 3])
        for index, value in enumerate(["a", "b"]):
            asked = worker.expect(frames.ViewCall)
            assert asked.params == index + 1
            worker.send(frames.VIEW_REPLY, asked.id, 0, value)
            assert worker.expect(frames.Part) == (identity, index, [value], None)
            worker.send(frames.CREDIT, identity, 1)
        asked = worker.expect(frames.ViewCall)
        worker.send(frames.VIEW_REPLY, asked.id, 0, "c")
        assert worker.expect(frames.Result)[:3] == (identity, ["c"], None)

    def test_results_that_nobody_has_taken_yet_go_together(self, worker: Worker) -> None:
        identity = worker.call(function("numbers"), list(range(9)))
        assert worker.expect(frames.Part)[:3] == (identity, 0, [0])
        # All that it has credit for.
        assert worker.expect(frames.Part)[:3] == (identity, 1, [1, 2, 3])
        worker.send(frames.CREDIT, identity, 4)
        assert worker.expect(frames.Part)[:3] == (identity, 4, [4])

    def test_what_waits_is_sent_once_those_before_it_are_taken(self, worker: Worker) -> None:
        """While the handler is at work on the next, and reads nothing itself."""
        identity = worker.call(function("steps"), [1, 2, 3, 4])
        for _ in range(2):
            asked = worker.expect(frames.ViewCall)
            worker.send(frames.VIEW_REPLY, asked.id, 0, "x")
            if asked.params == 1:
                assert worker.expect(frames.Part).index == 0
        # The second waits for the first to be taken; the third is being made.
        third = worker.expect(frames.ViewCall)
        worker.send(frames.CREDIT, identity, 1)
        assert worker.expect(frames.Part)[:3] == (identity, 1, ["x"])
        worker.send(frames.VIEW_REPLY, third.id, 0, "y")
        asked = worker.expect(frames.ViewCall)
        worker.send(frames.VIEW_REPLY, asked.id, 0, "z")
        assert worker.expect(frames.Result)[:2] == (identity, ["y", "z"])

    @pytest.mark.parametrize("name", ["numbers", "async_numbers"])
    def test_without_credit_the_generator_waits(self, worker: Worker, name: str) -> None:
        identity = worker.call(function(name), list(range(20)))
        got = [worker.expect(frames.Part) for _ in range(2)]
        assert sum(len(part.results) for part in got) == AHEAD
        # A ping is answered by who waits: it waits, then, and has made no more.
        worker.send(frames.PING, 1)
        worker.expect(frames.Pong)
        worker.send(frames.CANCEL, identity)
        assert worker.expect(frames.Error).error["kind"] == "cancelled"
        assert told(worker) == [*(f"made {n}" for n in range(AHEAD)), "closed"]

    @pytest.mark.parametrize("name", ["numbers", "async_numbers"])
    def test_all_of_many_come_once_and_in_order(self, worker: Worker, name: str) -> None:
        items: list[Payload] = list(range(1_000))
        results, last = collect(worker, name, items)
        assert results == items
        assert isinstance(last, frames.Result)
        assert last.results[-1] == 999

    def test_credit_for_logs_and_progress_is_not_the_results(self) -> None:
        with Worker(ahead=2, credits=0) as worker:
            worker.ready()
            identity = worker.call(function("numbers"), list(range(5)))
            assert [worker.expect(frames.Part).results for _ in range(2)] == [[0], [1]]
            worker.send(frames.CREDIT, 0, 10)
            worker.send(frames.PING, 1)
            worker.expect(frames.Pong)
            worker.send(frames.CREDIT, identity, 2)
            assert worker.expect(frames.Part).results == [2]

    def test_credit_for_another_call_is_nobodys(self, worker: Worker) -> None:
        worker.send(frames.CREDIT, 99, 1_000)
        identity = worker.call(function("numbers"), list(range(9)))
        assert sum(len(worker.expect(frames.Part).results) for _ in range(2)) == AHEAD
        worker.send(frames.CREDIT, identity + 1, 1_000)
        worker.send(frames.PING, 1)
        worker.expect(frames.Pong)

    def test_results_are_what_they_were_when_yielded(self, worker: Worker) -> None:
        results, _ = collect(worker, "reuses", [1, 2, 3, 4, 5])
        assert results == [{"n": n} for n in range(1, 6)]

    def test_one_item_comes_with_the_answer(self, worker: Worker) -> None:
        assert worker.results(function("numbers"), [1]) == [1]

    def test_no_items_are_no_results(self, worker: Worker) -> None:
        assert worker.results(function("numbers"), []) == []

    def test_a_coroutine_may_return_a_generator(self, worker: Worker) -> None:
        assert collect(worker, "makes_a_generator", [1, 2, 3])[0] == [1, 2, 3]

    def test_parts_keep_to_the_largest_frame(self) -> None:
        with Worker(ahead=64, max_frame=40_000) as worker:
            worker.ready()
            sizes = [15_000] * 9 + [39_990, 1]
            results, _ = collect(worker, "bytes_of", sizes)
            assert results[:9] == [bytes(15_000)] * 9
            assert (results[9]["kind"], results[9]["limit"]) == ("too_large", 40_000)
            assert results[10] == b"\0"


class TestFailures:
    def test_items_fail_alone(self) -> None:
        with Worker(ahead=2, max_frame=200_000) as worker:
            worker.ready()
            items = ["a", "set", "failure", "b", "reason", "coroutine", "large", "c"]
            results, last = collect(worker, "odd", items)
            assert isinstance(last, frames.Result)
            assert [r if isinstance(r, str) else r["kind"] for r in results] == [
                "a",
                "not_encodable",
                "failure",
                "b",
                "failure",
                "not_encodable",
                "too_large",
                "c",
            ]
            assert results[1]["message"] == "result: a range cannot be sent; make it a list"
            assert results[4]["reason"] == {"code": 7}

    @pytest.mark.parametrize("name", ["raises_at", "async_raises_at"])
    @pytest.mark.parametrize("at", [0, 1, 3, 7, 9])
    def test_what_was_yielded_stands_when_it_raises(
        self, worker: Worker, name: str, at: int
    ) -> None:
        items: list[Payload] = list(range(10))
        items[at] = "raise"
        results, last = collect(worker, name, items)
        assert results == items[:at]
        assert isinstance(last, frames.Error)
        assert (last.error["kind"], last.error["type"]) == ("exception", "ValueError")
        assert "in " + name in last.error["traceback"]
        for hidden in ("_calls.py", "_stream.py", "_coroutines.py", "asyncio"):
            assert hidden not in last.error["traceback"]

    def test_the_last_result_stands_when_the_generator_has_ended(self, worker: Worker) -> None:
        results, last = collect(worker, "raises_at_the_end", [1, 2, 3])
        assert results == [1, 2]
        assert isinstance(last, frames.Error)
        assert last.error["message"] == "too late"

    def test_too_few_fail_those_left_over(self, worker: Worker) -> None:
        results, last = collect(worker, "too_few", [1, 2, 3, 4, 5])
        assert results == [1, 2, 3]
        assert isinstance(last, frames.Error)
        error = last.error
        assert (error["kind"], error["expected"], error["got"]) == ("wrong_length", 5, 3)

    def test_too_many_fail_the_last_and_close_the_generator(self, worker: Worker) -> None:
        results, last = collect(worker, "too_many", [1, 2, 3])
        assert results == [1, 2]
        assert isinstance(last, frames.Error)
        error = last.error
        assert (error["kind"], error["expected"], error["got"]) == ("wrong_length", 3, 4)
        assert told(worker) == ["ended"]

    def test_an_exit_fails_only_what_is_left(self, worker: Worker) -> None:
        results, last = collect(worker, "exits", [1, 2])
        assert results == [1]
        assert isinstance(last, frames.Error)
        assert last.error["type"] == "SystemExit"
        assert worker.results("echo", [1]) == [1]


class TestCancel:
    @pytest.mark.parametrize("name", ["forever", "refuses_to_close"])
    def test_a_cancelled_generator_is_closed_and_the_worker_goes_on(
        self, worker: Worker, name: str
    ) -> None:
        identity = worker.call(function(name), list(range(100)))
        while not isinstance(got := worker.read(), frames.Part):
            assert isinstance(got, frames.Progress)
        worker.send(frames.CANCEL, identity)
        while not isinstance(got, frames.Error):
            got = worker.read()
        assert got.id == identity
        if name == "forever":
            assert got.error["kind"] == "cancelled"
            assert told(worker) == ["closed"]
        assert worker.results("echo", [1]) == [1]

    def test_a_generator_that_waits_ends_with_beam(self, worker: Worker) -> None:
        worker.call(function("numbers"), list(range(100)))
        worker.expect(frames.Part)
        worker.close_input()
        assert worker.wait() == 0


class TestStream:
    def test_without_a_link_all_comes_with_the_answer(self) -> None:
        stream = Stream(1, 3, 1_000, None)
        stream.drain(value for value in "abc")
        (answer,) = stream.answer(None, 1, 2)
        got = frames.parse(bytes(answer))
        assert isinstance(got, frames.Result)
        assert got[:3] == (1, ["a", "b", "c"], None)
        assert got.timing[:2] == [1, 2]

    def test_one_result_too_many_is_refused(self) -> None:
        stream = Stream(1, 1, 1_000, None)
        stream.put("a")
        with pytest.raises(TooManyError):
            stream.put("b")
