"""What baselines share: the invariants, the clock, the deadline, and the line that they print.

A module ``baseline`` has one function for each kind, which takes a :class:`Run`::

    def safe_python(run: Run) -> None:
        data = load(run.size)               # not measured
        run.promise("every item has a result")
        with run.measured():
            with ThreadPoolExecutor(run.workers) as pool:
                run.started()               # the workers are there
                results = list(pool.map(work, data))
        run.check("every item has a result", len(results) == run.size)

What it prints are lines of JSON: one when the data are there, one when the work is done, and one
with the result. Who runs it measures its memory between the first two.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

_TICK = 0.1
"""Seconds between looks at the clock."""

KINDS = ("unsafe_threaded", "safe_python", "process_pool")


class Run:
    """One run of one kind of baseline: what it is given, and what it found."""

    def __init__(self, workers: int, size: int, deadline: float, imported: float = 0.0) -> None:
        self.workers = workers
        self.size = size
        self.deadline = deadline
        """Seconds that the measured part may take."""
        self.imported = imported
        """Seconds that the imports of the baseline took."""
        self.restarts = 0
        """Workers that died, and were replaced."""
        self.note: str | None = None
        """One sentence on what went wrong."""
        self._held: dict[str, bool] = {}
        self._at_deadline: Callable[[], None] = lambda: None
        self._began = self._up = 0.0
        self._start_ms: float | None = None
        self._ms: float | None = None

    def promise(self, *texts: str) -> None:
        """Declare invariants; what is never checked was not held."""
        for text in texts:
            self._held.setdefault(text, False)

    def check(self, text: str, held: bool) -> None:
        """Say whether an invariant was held."""
        self._held[text] = held

    def at_deadline(self, function: Callable[[], None]) -> None:
        """Have a function called when time is up: it may check and note what there is."""
        self._at_deadline = function

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the block: from data in memory to results in memory."""
        _print({"event": "begin", "invariants": list(self._held)})
        # A thread for this would be in the way of those who fork.
        parent = os.getppid()
        self._began = self._up = time.perf_counter()
        signal.signal(signal.SIGALRM, lambda *_: self._look(parent))
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
        try:
            yield
            self._stop()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def started(self) -> None:
        """Say that the workers are there: what came before is told apart."""
        self._up = time.perf_counter()

    def finish(self) -> None:
        """Print the result."""
        self._result(ended=True)

    def _stop(self) -> None:
        now = time.perf_counter()
        # Who has workers start as programs waits for the same imports in them.
        self._start_ms = (self._up - self._began + self.imported) * 1_000
        self._ms = (now - self._up) * 1_000
        _print({"event": "end"})

    def _look(self, parent: int) -> None:
        if time.perf_counter() - self._began > self.deadline:
            self._stop()
            self.note = f"did not end: stopped after {self.deadline:g} s"
            with suppress(Exception):
                self._at_deadline()
            self._result(ended=False)
            self._kill()
        if os.getppid() != parent:
            self._kill()

    def _kill(self) -> None:
        # The workers of a pool, too: all are in the group that this process leads.
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def _result(self, ended: bool) -> None:
        _print(
            {
                "event": "result",
                "invariants": [
                    {"text": text, "held": bool(held)} for text, held in self._held.items()
                ],
                "start_ms": self._start_ms,
                "import_ms": self.imported * 1_000,
                "ms": self._ms,
                "restarts": self.restarts,
                "note": self.note,
                "ended": ended,
                "interpreter": interpreter(),
            }
        )


def _print(line: dict[str, object]) -> None:
    # In one piece, whatever else prints.
    os.write(1, json.dumps(line).encode() + b"\n")


def interpreter() -> dict[str, object]:
    """Which Python this is, and whether it runs without the GIL now."""
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)
    return {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "free_threaded": not enabled(),
        "built_free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "executable": sys.executable,
    }


def main(module: ModuleType, arguments: list[str], imported: float = 0.0) -> int:
    """Run the kind that the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(prog="run_baseline.py NAME")
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds")
    options = parser.parse_args(arguments)
    with suppress(PermissionError):
        os.setsid()
    run = Run(options.workers, options.size, options.deadline, imported)
    kind: Callable[[Run], None] = getattr(module, options.kind)
    kind(run)
    run.finish()
    return 0
