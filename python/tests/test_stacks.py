"""Where a worker's threads are, as BEAM asks it; what a program is told of it."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import driven
import pytest
from peer import PATIENCE, Worker

import slither
from slither._types import Payload
from slither._wire import frames
from slither._worker.stacks import SIZE


def until(found: Callable[[], object]) -> None:
    last = time.monotonic() + PATIENCE / 1_000
    while not found():
        assert time.monotonic() < last
        os.sched_yield()


class Asked:
    """The memory that a worker answers in, and the pipe that it is asked by."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.file, self.pipe = worker.stacks

    @property
    def numbers(self) -> tuple[int, int, int]:
        """How often it has answered, the signal, and the thread that answers."""
        answered, number, thread = struct.unpack("<QQQ", os.pread(self.file, 24, 0))
        return answered, number, thread

    def call(self, name: str, items: list[Payload]) -> Payload:
        """Have a handler run; its results."""
        self.worker.call(["function", "stack_handlers", name], items)
        return self.worker.expect(frames.Result).results

    def ask(self) -> str:
        answered = self.numbers[0]
        os.truncate(self.file, SIZE)
        os.write(self.pipe, b"?")
        until(lambda: self.numbers[0] > answered)
        return self.text()

    def force(self) -> str:
        """Ask by the signal; wait until the main thread's last line is there."""
        os.truncate(self.file, SIZE)
        os.kill(self.worker.process.pid, self.numbers[1])
        until(lambda: self.text().endswith("in _run_module_as_main\n"))
        return self.text()

    def text(self) -> str:
        return os.pread(self.file, 1 << 20, SIZE).decode()


@pytest.fixture
def asked() -> Iterator[Asked]:
    with Worker(stacks=True, preload=["stack_handlers"]) as worker:
        asked = Asked(worker.ready())
        yield asked


def test_it_answers_who_asks_and_who_forces_it(asked: Asked) -> None:
    for ask in (asked.ask, asked.force, asked.force, asked.ask):
        assert " in run\n" in ask()
    assert asked.call("name_of_main", [1]) == ["MainThread"]


def test_all_bytes_are_answered(asked: Asked) -> None:
    os.write(asked.pipe, b"?" * 5_000)
    until(lambda: asked.numbers[0] == 5_000)
    assert asked.text().count(" in _run_module_as_main\n") < 5_000


def test_it_does_not_answer_where_beam_has_not_opened_the_memory() -> None:
    with Worker(stacks=False) as worker:
        asked = Asked(worker.start())
        worker.expect(frames.Ready)
        assert asked.numbers == (0, 0, 0)


def test_a_child_that_is_forked_answers_nobody(asked: Asked) -> None:
    os.truncate(asked.file, SIZE)
    _answered, number, _thread = asked.numbers
    # The signal ends the child, as it ends any program that has no handler for it.
    assert asked.call("fork_and_signal", [number]) == [-number]
    assert asked.call("fork_and_start_thread", [1]) == [0]
    assert asked.text() == ""
    assert " in run\n" in asked.ask()


def test_threads_are_noted_by_their_names(asked: Asked) -> None:
    asked.call("start_threads", [["one", "ü" * 40]])
    names = os.pread(asked.file, SIZE - 24, 24)
    found = [names[at + 16 : at + 64].rstrip(b"\0") for at in range(0, len(names), 64)]
    assert found[0] == b"MainThread"
    assert b"one" in found
    assert ("ü" * 24).encode() in found


def test_the_latest_threads_are_noted_and_the_main_one(asked: Asked) -> None:
    asked.call("start_threads", [[f"t{number}" for number in range(300)]])
    rows = [struct.unpack("<QQ48s", os.pread(asked.file, 64, 24 + 64 * at)) for at in range(128)]
    assert rows[0][1:] == (0, b"MainThread".ljust(48, b"\0"))
    counts = sorted(count for _thread, count, _name in rows[1:])
    assert counts == list(range(counts[-1] - 126, counts[-1] + 1))


def test_a_handler_has_the_signal_that_it_takes(asked: Asked) -> None:
    number = asked.numbers[1]
    assert asked.call("take_signals", [number]) == [[number, "handled"]]
    assert asked.numbers[1] == 0
    assert " in run\n" in asked.ask()


def test_what_was_ended_says_where_it_was(escript: Path) -> None:
    with slither.Beam(workers=1, preload=["driven"]) as beam:
        assert [(told["worker"], told["call"], told["stack"]) for told in beam.stacks()] in (
            [],
            [(0, None, "")],
            [(0, None, None)],
        )
        beam.wait_ready()
        late = beam.submit_with(driven.hang, (600,), timeout=1.0).exception(PATIENCE / 1_000)
        assert isinstance(late, slither.CallTimeout)
        assert late.stack is not None
        assert " in hang\n" in late.stack
        assert "it was in hang (driven.py:" in str(late)
        stuck = beam.submit(driven.hang, 600)
        told = await_stack(beam, " in hang\n")
        assert told["call"] == "driven.hang"
        assert told["pid"] in [worker["pid"] for worker in beam.status()["workers"]]
        assert stuck.kill()
        killed = stuck.exception(PATIENCE / 1_000)
        assert isinstance(killed, slither.CallKilled)
        assert killed.stack == told["stack"]
        in_session = beam.submit_with(driven.hang, (600,), session="a")
        assert await_stack(beam, " in hang\n")["call"] == "driven.hang"
        assert in_session.kill()


def await_stack(beam: slither.Beam, text: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [worker for worker in beam.stacks() if text in (worker["stack"] or "")]

    until(found)
    return found()[0]


@pytest.mark.parametrize("facts", [{}, {"stack": None}, {"stack": 7}])
def test_what_ended_otherwise_has_no_stack(facts: dict[str, object]) -> None:
    assert slither.CallTimeout("late", {"kind": "timeout", **facts}).stack is None


def test_a_thread_of_the_users_may_have_any_name(asked: Asked) -> None:
    names = ["", "a\0b", "\n"]
    assert asked.call("start_threads", [names]) == [len(names)]
    assert threading.active_count() >= 1
    assert signal.getsignal(asked.numbers[1]) is signal.SIG_DFL
