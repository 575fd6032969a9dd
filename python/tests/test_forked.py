"""Children that a handler forks end with their own status, and never act for the worker."""

from __future__ import annotations

import pytest
from peer import Worker

from slither._wire import frames

KINDS = [
    "in_a_batch",
    "in_an_item",
    "in_a_generator",
    "in_a_coroutine",
    "in_an_items_coroutine",
    "in_an_async_generator",
]
HOW = {"exit": 5, "words": 1, "raise": 1, "os error": 1, "_exit": 6, "return": 0}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_keeps_its_own_status(kind: str, how: str) -> None:
    with Worker(preload=["forking_handlers"]) as worker:
        worker.ready()
        assert worker.results(kind, [how]) == [HOW[how]]
        # The worker goes on, and nothing that the child has said comes before its answer.
        assert worker.results(kind, ["_exit"]) == [6]


@pytest.mark.parametrize("kind", ["in_an_item", "in_an_items_coroutine"])
def test_a_child_runs_no_other_item_of_its_batch(kind: str) -> None:
    with Worker(preload=["forking_handlers"]) as worker:
        worker.ready()
        assert worker.results(kind, ["return", "return", "raise", "exit"]) == [0, 0, 1, 5]


def test_a_childs_exception_is_on_its_stderr() -> None:
    with Worker(preload=["forking_handlers"], capture=True, credits=100) as worker:
        worker.ready()
        identity = worker.call("in_a_batch", ["raise"])
        lines = []
        while isinstance(got := worker.read(), frames.Log):
            lines.append(got.message)
        assert getattr(got, "id", None) == identity
        assert lines[-1] == "ValueError: in the child"
        assert any("forking_handlers.py" in line for line in lines)


def test_a_fork_beside_the_threads_of_slither_warns_of_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    with Worker(preload=["forking_handlers"], capture=True, credits=100) as worker:
        worker.ready()
        assert worker.results("in_a_batch", ["exit"]) == [5]
