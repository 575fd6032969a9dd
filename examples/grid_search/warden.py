"""Stands for the kernel of a small machine: kills what takes more memory than there is.

A thread of the program runs it. It reads ``/proc``, so it runs on Linux alone.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

_EVERY = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Warden:
    """Kills each process below this one that takes more than so many bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._killed: set[int] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="warden", daemon=True)

    @property
    def killed(self) -> int:
        """How many processes it has killed."""
        return len(self._killed)

    def __enter__(self) -> Warden:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(_EVERY):
            for pid in _below(os.getpid()):
                with suppress(OSError):
                    if _taken(pid) > self.most:
                        os.kill(pid, signal.SIGKILL)
                        # One that is dying is there for a while.
                        self._killed.add(pid)


def _taken(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * _PAGE


def _below(top: int) -> list[int]:
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError), open(f"/proc/{entry}/stat") as file:
                parents[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
    found, look = [], {top}
    while look := {pid for pid, parent in parents.items() if parent in look}:
        found += look
    return found
