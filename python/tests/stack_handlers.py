"""Handlers for the tests of stacks."""

from __future__ import annotations

import os
import signal
import threading
import time


def name_of_main(items: list[int]) -> list[str]:
    return [threading.current_thread().name for _ in items]


def fork_and_signal(items: list[int]) -> list[int]:
    """Fork a child that gets a signal; how it ended, as a negative signal or a status."""
    return [_in_child(lambda number=number: os.kill(os.getpid(), number)) for number in items]


def fork_and_start_thread(items: list[int]) -> list[int]:
    def start() -> None:
        thread = threading.Thread(target=int, name="in the child")
        thread.start()
        thread.join()

    return [_in_child(start) for _ in items]


def _in_child(work) -> int:  # type: ignore[no-untyped-def]
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start_threads(items: list[list[str]]) -> list[int]:
    for names in items:
        for name in names:
            thread = threading.Thread(target=int, name=name)
            thread.start()
            thread.join()
    return [len(names) for names in items]


def take_signals(items: list[int]) -> list[list[object]]:
    """Take each signal, and have it sent; what its own handler was told."""
    told: list[list[object]] = []
    for number in items:
        signal.signal(number, lambda number, _frame: told.append([number, "handled"]))
        os.kill(os.getpid(), number)
        while not told or told[-1][0] != number:
            time.sleep(0)
    return told
