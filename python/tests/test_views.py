from __future__ import annotations

from typing import Any

import pytest
from peer import Worker

import slither
from slither import views
from slither._wire import frames


def test_keyword_arguments_are_one_map(worker: Worker) -> None:
    identity = worker.call("look_up", ["user:42"])
    asked = worker.expect(frames.ViewCall)
    assert asked[1:] == (identity, "feature", 0, {"key": "user:42"}, None)
    worker.send(frames.VIEW_REPLY, asked.id, 0, {"score": 1.5})
    assert worker.expect(frames.Result).results == [{"score": 1.5}]


def test_map_is_one_frame(worker: Worker) -> None:
    worker.call("look_up_all", [1, 2])
    asked = worker.expect(frames.ViewCall)
    assert asked[2:] == ("feature", 1, [1, 2], 50)
    worker.send(frames.VIEW_REPLY, asked.id, 0, ["a", "b"])
    assert worker.expect(frames.Result).results == ["a", "b"]


def test_map_wants_as_many_answers(worker: Worker) -> None:
    worker.call("look_up_all", [1, 2])
    worker.send(frames.VIEW_REPLY, worker.expect(frames.ViewCall).id, 0, ["a"])
    error = worker.expect(frames.Error).error
    assert (error["type"], "view 'feature'" in error["message"]) == ("ViewFailed", True)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("unknown_view", "UnknownView"),
        ("view_failed", "ViewFailed"),
        ("view_timeout", "ViewTimeout"),
        ("view_busy", "ViewBusy"),
        ("session_ended", "SessionEnded"),
        ("invalid_params", "InvalidParams"),
        ("from_the_future", "ViewError"),
    ],
)
def test_each_failure_has_its_exception(worker: Worker, kind: str, name: str) -> None:
    worker.call("try_view", [1])
    asked = worker.expect(frames.ViewCall)
    worker.send(frames.VIEW_REPLY, asked.id, 1, {"kind": kind, "message": "so it is"})
    assert worker.expect(frames.Result).results == [[name, "view 'v': so it is"]]


def test_params_that_cannot_be_sent(worker: Worker) -> None:
    text = "view 'v': params[\"tags\"]: a range cannot be sent; make it a list"
    assert worker.results("bad_params", [1]) == [["InvalidParams", text]]


def test_calls_queue_while_a_view_call_waits(worker: Worker) -> None:
    first = worker.call("look_up", ["a"])
    asked = worker.expect(frames.ViewCall)
    others = [worker.call("echo", [number]) for number in range(5)]
    worker.send(frames.PING, 9)
    assert worker.expect(frames.Pong).token == 9
    worker.send(frames.VIEW_REPLY, asked.id, 0, "A")
    assert worker.expect(frames.Result)[:2] == (first, ["A"])
    for number, identity in enumerate(others):
        assert worker.expect(frames.Result)[:2] == (identity, [number])


def test_threads_ask_at_once_and_replies_come_in_any_order(worker: Worker) -> None:
    worker.call("from_threads", [10, 20, 30])
    asked = [worker.expect(frames.ViewCall) for _ in range(3)]
    for call in reversed(asked):
        worker.send(frames.VIEW_REPLY, call.id, 0, call.params + 1)
    assert worker.expect(frames.Result).results == [11, 21, 31]


def test_a_thread_may_outlive_its_call() -> None:
    with Worker(credits=5) as worker:
        worker.ready()
        worker.call("leave_thread", [1])
        got = [worker.read(), worker.read()]
        (asked,) = [frame for frame in got if isinstance(frame, frames.ViewCall)]
        worker.send(frames.VIEW_REPLY, asked.id, 0, "late answer")
        log = worker.expect(frames.Log)
        assert (log.call, log.message) == (asked.call, "late answer")
        assert worker.results("echo", [1]) == [1]


def test_a_thread_asks_for_its_own_call_even_in_another(worker: Worker) -> None:
    first = worker.call("leave_waiting_thread", ["left"], session="first")
    assert worker.expect(frames.Result)[:2] == (first, ["left"])
    second = worker.call("let_thread_go", ["here"], session="second")
    asked = {call.name: call for call in (worker.expect(frames.ViewCall) for _ in range(2))}
    assert asked["v"].call == second
    # Nor is the other call's state its own.
    assert asked["late"].call == first
    assert "outside a call" in asked["late"].params[1]
    for call in asked.values():
        worker.send(frames.VIEW_REPLY, call.id, 0, "answer")
    assert worker.expect(frames.Result)[:2] == (second, ["answer"])


def test_an_executor_that_is_kept_asks_for_the_call_it_works_for(worker: Worker) -> None:
    for _ in range(3):
        identity = worker.call("ask_from_kept_executor", [1, 2])
        for answer in ("a", "b"):
            asked = worker.expect(frames.ViewCall)
            assert asked.call == identity
            worker.send(frames.VIEW_REPLY, asked.id, 0, answer)
        assert worker.expect(frames.Result)[:2] == (identity, ["a", "b"])


@pytest.mark.parametrize("name", [5, None, b"view"])
def test_a_name_is_a_str(name: object) -> None:
    with pytest.raises(TypeError, match="a view's name is a str, not"):
        views.call(name)  # type: ignore[arg-type]


def test_eof_while_a_view_call_waits(worker: Worker) -> None:
    worker.call("try_view", [1])
    worker.expect(frames.ViewCall)
    worker.close_input()
    assert worker.expect(frames.Result).results[0][0] == "ViewFailed"
    assert worker.wait() == 0


def test_outside_a_worker_it_says_so() -> None:
    with pytest.raises(slither.SlitherError, match=r"view 'x' was called outside a worker"):
        views.x(a=1)


@pytest.mark.parametrize("timeout", [0, -1.5, True, "1", float("inf"), float("nan")])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(
        ValueError, match=r"timeout is a number of seconds above 0, .* or None, not"
    ):
        views.call("x", {}, timeout=timeout)


def test_a_reply_that_nobody_waits_for_is_dropped(worker: Worker) -> None:
    worker.send(frames.VIEW_REPLY, 99, 0, "for nobody")
    assert worker.results("echo", [1]) == [1]
