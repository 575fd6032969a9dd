from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from peer import Worker

from slither._types import Payload
from slither._wire import frames
from slither.worker import item_handler


def function(name: str) -> list[str]:
    return ["function", "async_handlers", name]


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(preload=["handlers", "async_handlers"]) as started:
        yield started.ready()


def told(worker: Worker, how: str = "told") -> list[str]:
    return worker.results(function(how), [0])[0]  # type: ignore[no-any-return]


class TestBatches:
    def test_results_are_those_of_the_coroutine(self, worker: Worker) -> None:
        assert worker.results(function("double"), [1, 2, 3]) == [2, 4, 6]

    def test_one_loop_serves_all_calls(self, worker: Worker) -> None:
        first = worker.results(function("loop_ids"), [1, 2])
        assert len(set(first + worker.results(function("loop_ids"), [1]))) == 1

    def test_an_exception_has_its_own_traceback(self, worker: Worker) -> None:
        error = worker.error(function("fails"), ["luck"])
        assert (error["kind"], error["type"]) == ("exception", "ValueError")
        assert error["message"] == "no luck"
        assert "in fails" in error["traceback"]
        for hidden in ("_calls.py", "_coroutines.py", "asyncio"):
            assert hidden not in error["traceback"]

    def test_an_exit_fails_only_the_batch(self, worker: Worker) -> None:
        assert worker.error(function("exits"), [1])["type"] == "SystemExit"
        assert worker.results(function("double"), [1]) == [2]

    def test_what_is_no_list_is_refused(self, worker: Worker) -> None:
        error = worker.error(function("nothing"), [1])
        assert (error["kind"], error["got"]) == ("not_a_list", "NoneType")

    def test_context_session_and_cancelled_work_inside(self, worker: Worker) -> None:
        for count in (1, 2):
            got = worker.results(function("knows_its_call"), [0], session="s1")
            assert got == [["r1", "s1", 0, count, False]]

    def test_a_call_does_not_see_the_variables_of_another(self, worker: Worker) -> None:
        assert worker.results(function("sets_a_variable"), ["a"]) == ["nothing"]
        assert worker.results(function("sets_a_variable"), ["b"]) == ["nothing"]

    def test_log_records_name_the_call(self, worker: Worker) -> None:
        identity = worker.call(function("logs"), ["a"])
        got = worker.expect(frames.Log)
        assert (got.call, got.message) == (identity, "said a")
        worker.expect(frames.Result)


class TestViews:
    def test_a_view_holds_up_the_loop_and_answers(self, worker: Worker) -> None:
        worker.call(function("asks_and_blocks"), [1])
        asked = worker.expect(frames.ViewCall)
        worker.send(frames.VIEW_REPLY, asked.id, 0, "view")
        asked = worker.expect(frames.TableCall)
        worker.send(frames.VIEW_REPLY, asked.id, 0, ["row"])
        assert worker.expect(frames.Result).results == [["view", "row"]]

    def test_a_view_in_a_thread_is_awaited(self, worker: Worker) -> None:
        worker.call(function("asks"), [1, 2])
        for value in ("a", "b"):
            asked = worker.expect(frames.ViewCall)
            worker.send(frames.VIEW_REPLY, asked.id, 0, value)
        assert worker.expect(frames.Result).results == ["a", "b"]

    def test_views_in_threads_are_asked_at_once(self, worker: Worker) -> None:
        worker.call(function("asks_at_once"), [1, 2, 3])
        asked = {(got := worker.expect(frames.ViewCall)).params: got.id for _ in range(3)}
        for item in (2, 3, 1):
            worker.send(frames.VIEW_REPLY, asked[item], 0, 10 * item)
        assert worker.expect(frames.Result).results == [10, 20, 30]


class TestCancel:
    def test_the_calls_task_is_cancelled_once(self, worker: Worker) -> None:
        identity = worker.call(function("until_cancelled"), ["a"])
        worker.expect(frames.Progress)
        worker.send(frames.CANCEL, identity)
        worker.send(frames.CANCEL, identity)
        assert worker.expect(frames.Error).error["type"] == "CancelledError"
        assert told(worker) == ["cancelled, True"]

    def test_tasks_of_the_call_are_cancelled_too(self, worker: Worker) -> None:
        identity = worker.call(function("until_cancelled_in_parts"), ["a", "b"])
        worker.expect(frames.Progress)
        worker.send(frames.CANCEL, identity)
        assert worker.expect(frames.Error).error["type"] == "CancelledError"
        assert sorted(told(worker)) == ["a", "b"]

    def test_items_that_run_are_cancelled_and_no_more_begun(self, worker: Worker) -> None:
        items = [str(n) for n in range(100)]
        identity = worker.call("item_until_cancelled", items)
        for _ in range(16):
            worker.expect(frames.Progress)
        worker.send(frames.CANCEL, identity)
        assert worker.expect(frames.Error).id == identity
        assert sorted(told(worker), key=int) == items[:16]

    def test_another_calls_cancel_is_not_this_ones(self, worker: Worker) -> None:
        worker.send(frames.CANCEL, 99)
        assert worker.results(function("double"), [1]) == [2]

    def test_the_end_of_beam_cancels(self, worker: Worker) -> None:
        worker.call(function("until_cancelled"), ["a"])
        worker.expect(frames.Progress)
        worker.close_input()
        assert worker.wait() == 0


class TestLeftOvers:
    def test_a_task_does_not_run_on_into_the_next_call(self, worker: Worker) -> None:
        assert worker.results(function("leaves_a_task"), [1]) == [1]
        assert told(worker, "told_later")[-1] == "ended"
        assert told(worker, "told_later") == []

    def test_one_that_refuses_costs_the_loop(self, worker: Worker) -> None:
        before = worker.results(function("loop_ids"), [1])
        identity = worker.call(function("leaves_a_stubborn_task"), [1])
        got = worker.expect(frames.Log)
        assert (got.level, got.call) == ("warning", identity)
        assert got.message.startswith("1 asyncio tasks of a call went on after it was over")
        assert worker.expect(frames.Result).results == [1]
        told(worker)
        assert told(worker, "told_later") == []
        assert worker.results(function("loop_ids"), [1]) != before


class TestItems:
    def test_they_run_at_once_as_far_as_allowed(self, worker: Worker) -> None:
        assert max(worker.results("at-once", list(range(10)))) == 3

    def test_results_are_in_the_order_of_the_items(self, worker: Worker) -> None:
        items = [*range(15), "last"]
        assert worker.results("waits_for_the_last", items, session="s") == items

    def test_failing_items_fail_alone(self, worker: Worker) -> None:
        items = ["a", "raise", "cancel", "exit", "fail", "set", "b"]
        got = worker.run("picky", items)
        assert got.results == ["a", None, None, None, None, None, "b"]
        kinds = [got.errors[at].get("type", got.errors[at]["kind"]) for at in range(1, 6)]
        assert kinds == ["ValueError", "CancelledError", "SystemExit", "failure", "not_encodable"]
        assert "in picky" in got.errors[1]["traceback"]
        assert "_coroutines.py" not in got.errors[1]["traceback"]

    def test_a_function_may_return_a_coroutine_for_some(self, worker: Worker) -> None:
        items = list(range(20))
        assert worker.results("sometimes", items) == items

    def test_no_items_are_no_results(self, worker: Worker) -> None:
        assert worker.results("picky", []) == []

    def test_functions_that_a_driver_maps_may_be_async(self, worker: Worker) -> None:
        got = worker.run(["each", "async_handlers", "triple"], [1, 0, 2])
        assert got.results == [3, None, 6]
        assert got.errors[1]["message"] == "nothing to triple"
        applied = [[[1], {}], [[2], {"plus": 1}], [[0], {}]]
        got = worker.run(["apply", "async_handlers", "triple"], applied)
        assert got.results == [3, 7, None]
        assert got.errors[2]["type"] == "ValueError"

    def test_generators_are_refused(self) -> None:
        def yields(item: int) -> Iterator[int]:
            yield item

        async def yields_later(item: int) -> AsyncIterator[int]:
            yield item

        for function in (yields, yields_later):
            with pytest.raises(TypeError, match="returns one result"):
                item_handler(function)

    def test_concurrency_is_one_or_more(self) -> None:
        with pytest.raises(ValueError, match="1 or more, not 0"):
            item_handler(concurrency=0)


def test_asyncio_is_imported_when_it_is_needed() -> None:
    with Worker() as worker:
        worker.ready()
        imported = ["function", "sys_modules", "imported"]
        got: list[Payload] = worker.results(imported, ["asyncio", "slither"])
        assert got == [False, True]
