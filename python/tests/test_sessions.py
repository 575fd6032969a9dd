from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from peer import Worker

from slither import worker as api
from slither._types import Payload
from slither._wire import frames
from slither._worker import registry

END, DUMP, LOAD = (["session", op] for op in ("end", "dump", "load"))


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(preload=["session_handlers"], credits=0) as worker:
        yield worker.ready()


def remember(worker: Worker, item: Payload, **context: Payload) -> Payload:
    return worker.results("remember", [item], **context)[0]


def test_a_session_that_ends_begins_anew(worker: Worker) -> None:
    assert remember(worker, 1, session="a") == [1]
    assert remember(worker, 5, session="b") == [5]
    assert remember(worker, 2, session="a") == [1, 2]
    assert worker.results(END, [None], session="a") == [True]
    assert worker.results(END, [None], session="a") == [False]
    assert remember(worker, 3, session="a") == [3]
    assert remember(worker, 6, session="b") == [5, 6]


def test_stop_hooks_get_each_state_that_goes_last_first(worker: Worker) -> None:
    remember(worker, 1, session="a")
    remember(worker, 2, session="b")
    worker.results(END, [None], session="a")
    assert worker.results("told", [0]) == [["last", "first [1]"]]
    worker.results(END, [None], session="none")
    assert worker.results("told", [0]) == [["last", "first [1]"]]


def test_the_state_of_a_run_is_told_of_once_and_ends_when_asked(worker: Worker) -> None:
    call = worker.call("remember", [1], run="r7")
    assert worker.expect(frames.Session) == (call, "r7")
    assert worker.expect(frames.Result).results == [[1]]
    assert remember(worker, 2, run="r7") == [1, 2]
    assert worker.results(END, [None], run="r7") == [True]
    call = worker.call("remember", [3], run="r7")
    assert worker.expect(frames.Session) == (call, "r7")
    assert worker.expect(frames.Result).results == [[3]]


def test_a_run_that_asks_for_no_state_is_not_told_of(worker: Worker) -> None:
    assert worker.results("told", [0], run="r8") == [[]]


def test_a_call_of_no_run_has_a_state_of_its_own(worker: Worker) -> None:
    assert remember(worker, 1, run=None) == [1]
    assert remember(worker, 2, run=None) == [2]
    assert worker.results("told", [0]) == [["last", "first [1]", "last", "first [2]"]]


def test_a_session_moves_to_a_worker_that_has_not_seen_its_module(worker: Worker) -> None:
    remember(worker, 1, session="a")
    (dumped,) = worker.results(DUMP, [None], session="a")
    assert dumped == {"module": "session_handlers", "value": {"items": [1]}}
    # A dump is a copy: the session is still here until it is ended.
    assert remember(worker, 2, session="a") == [1, 2]
    with Worker(preload=[]) as other:
        other.ready()
        assert other.results(LOAD, [dumped], session="a") == [None]
        assert other.results("remember", [3], session="a") == [[1, "moved", 3]]


def test_a_session_without_state_has_nothing_to_move(worker: Worker) -> None:
    assert worker.results(DUMP, [None], session="new") == [None]


def test_a_state_stays_where_no_pair_is_registered() -> None:
    with Worker() as worker:
        worker.ready()
        assert worker.results("count", [1], session="a") == [1]
        error = worker.run(DUMP, [None], session="a").error
        assert error["kind"] == "not_movable"
        assert worker.results("count", [1], session="a") == [2]
        anything = {"module": None, "value": 1}
        assert worker.run(LOAD, [anything], session="b").error["kind"] == "not_movable"


def test_a_pair_that_fails_says_why_and_changes_nothing(worker: Worker) -> None:
    remember(worker, "trouble", session="a")
    error = worker.run(DUMP, [None], session="a").error
    assert (error["kind"], error["message"]) == ("exception", "this one stays")
    assert remember(worker, 1, session="a") == ["trouble", 1]
    odd = {"module": None, "value": "odd"}
    error = worker.run(LOAD, [odd], session="b").error
    assert error["message"] == "the session_load function returned str, not a dict"
    assert worker.results(DUMP, [None], session="b") == [None]


def test_a_dump_that_cannot_be_sent_fails_by_its_path(worker: Worker) -> None:
    worker.results("remember_object", [0], session="a")
    got = worker.run(DUMP, [None], session="a")
    assert got.errors[0]["kind"] == "not_encodable"
    assert got.errors[0]["path"] == 'result["value"]["items"][0]'


def test_what_is_left_ends_with_the_worker() -> None:
    with Worker(preload=["session_handlers"], credits=10) as worker:
        worker.ready()
        remember(worker, 1, session="a")
        worker.close_input()
        facts = worker.expect(frames.Log).facts
        assert facts is not None
        assert facts["exc_text"].endswith("ValueError: a hook that fails")
        assert worker.wait() == 0


def test_one_pair_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "session_pair", {})

    def one(state: dict[str, Payload]) -> Payload:
        return state

    def two(state: dict[str, Payload]) -> Payload:
        return state

    assert api.session_dump(one) is one
    assert api.session_dump(one) is one
    with pytest.raises(ValueError, match="session_dump is already taken by test_sessions"):
        api.session_dump(two)


def test_a_call_that_is_cancelled_before_it_begins_does_not_run(
    worker: Worker, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    holding = worker.call("wait_for", [str(gate)])
    dropped = worker.call("remember", ["never"], session="a")
    worker.send(frames.CANCEL, dropped)
    gate.write_text("go on")
    assert worker.expect(frames.Result)[:2] == (holding, [[]])
    answer = worker.expect(frames.Error)
    assert (answer.id, answer.error["kind"]) == (dropped, "cancelled")
    assert remember(worker, "y", session="a") == ["y"]


def test_a_call_is_not_dropped_for_the_cancel_of_another(worker: Worker, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    worker.call("wait_for", [str(gate)])
    kept = worker.call("remember", [1], session="a")
    dropped = worker.call("remember", [2], session="a")
    worker.send(frames.CANCEL, dropped)
    gate.write_text("go on")
    worker.expect(frames.Result)
    assert worker.expect(frames.Result)[:2] == (kept, [[1]])
    assert worker.expect(frames.Error).id == dropped
