"""Where each thread is, for BEAM, which asks: written to memory that both have open.

The main thread makes the memory, and a pipe, by which BEAM asks once it has opened both by the
worker's descriptors. A thread of this module answers, which has nothing else to do; it holds
the interpreter's lock meanwhile, so that no thread goes on as its frames are read. Where code
holds the lock and gives it to nobody, BEAM sends a signal that this thread alone lets through:
Python's faulthandler then answers without the lock. No other thread gets a signal, which would
end early what it waits for in the system. Whoever starts a thread notes its name in the memory,
which is of the kind of :mod:`slither._worker.marker`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import functools
import itertools
import mmap
import os
import signal
import struct
import threading
from _thread import start_new_thread
from collections.abc import Callable

from slither._worker import forked, signals
from slither._worker.marker import nameless, place
from slither._worker.process import aside

_NAME = 48
_ROW = struct.Struct(f"<QQ{_NAME}s")
"""A thread: its identity, how many were noted before it, and its name."""
_ROWS = 128
_HEAD = struct.Struct("<QQQ")
"""How often the thread has answered, the signal, 0 for none, and the thread's number."""
SIZE = _HEAD.size + _ROW.size * _ROWS
"""Bytes before what faulthandler writes: the head, and the threads."""
_noting: Stacks | None = None


class Stacks:
    """The memory and the pipe; the thread that answers, and the signal that only it gets."""

    def __init__(self) -> None:
        """Make both; nobody else has them open yet, and nobody answers."""
        self._open: tuple[int, int] | None = None
        self._answered = self._number = self._thread = 0
        self._over = threading.Lock()
        self._ending = False
        self._rows = itertools.count()
        file = nameless(SIZE)
        if file is not None:
            asks, end = os.pipe()
            self._open = aside(file), aside(asks)
            for descriptor in (file, asks, end):
                os.close(descriptor)

    @property
    def thread(self) -> int:
        """The number of the thread that answers, 0 without one."""
        return self._thread

    @property
    def places(self) -> list[list[int]] | None:
        """Where BEAM finds the memory and the pipe."""
        return None if self._open is None else list(map(place, self._open))

    def settle(self, shared: bool) -> None:
        """Answer from now on, if BEAM has opened both."""
        if self._open is None:
            return
        if not shared:
            self._close()
            return
        file, _asks = self._open
        # Each answer goes behind what there is, wherever BEAM has cut the file.
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
        self._memory = mmap.mmap(file, SIZE)
        self._number = _free()
        # Threads that are started from now on hold it back, too.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals())
        forked.on_child(self._leave_to_parent)
        if self._start():
            self._name_threads()
            signals.on_taken = self._give_way
            if self._number:
                faulthandler.register(self._number, file=file, all_threads=True, chain=False)
            self._say()
        else:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals())
            self._number = 0

    def _signals(self) -> set[int]:
        return {self._number} - {0}

    def _start(self) -> bool:
        started = threading.Lock()
        started.acquire()
        try:
            start_new_thread(self._answer, (started.release,))
        except RuntimeError:
            # The system gives this process no more threads.
            return False
        started.acquire()
        return True

    def _answer(self, ready: Callable[[], None]) -> None:
        # No other signal may come here: the user's code may wait for it.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - self._signals())
        self._thread = threading.get_native_id()
        with self._over:
            ready()
            assert self._open is not None
            file, asks = self._open
            # Nobody asks any more when BEAM is gone, or a handler has closed all descriptors.
            with contextlib.suppress(OSError):
                while (asked := os.read(asks, 4_096)) and not self._ending:
                    faulthandler.dump_traceback(file, all_threads=True)
                    self._answered += len(asked)
                    self._say()

    def end(self) -> None:
        """Answer no more, and have no thread that could."""
        if self._open is None:
            return
        self._ending = True
        if self._thread:
            # As BEAM asks.
            own = os.open(f"/proc/self/fd/{self._open[1]}", os.O_WRONLY)
            os.write(own, b".")
            self._over.acquire()
            os.close(own)
        self._leave_to_parent()

    def _say(self) -> None:
        _HEAD.pack_into(self._memory, 0, self._answered, self._number, self._thread)

    def _give_way(self, number: int) -> None:
        # The user's own handler is about to be set for it.
        if number and number == self._number:
            self._number = 0
            self._say()
            faulthandler.unregister(number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})

    def _name_threads(self) -> None:
        global _noting
        self._note(threading.main_thread())
        is_first, _noting = _noting is None, self
        if is_first:
            _note_threads()

    def _note(self, thread: threading.Thread) -> None:
        # The main thread has the first row for good.
        count = next(self._rows)
        row = count if count < _ROWS else 1 + (count - 1) % (_ROWS - 1)
        name = thread.name.encode("utf-8", "replace")[:_NAME]
        at = _HEAD.size + row * _ROW.size
        _ROW.pack_into(self._memory, at, thread.ident or 0, count, name)

    def _leave_to_parent(self) -> None:
        # In a child that was forked: the memory is its parent's.
        signals.on_taken = None
        if self._number:
            faulthandler.unregister(self._number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals())
        self._close()

    def _close(self) -> None:
        for descriptor in self._open or ():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._open = None


def _note_threads() -> None:
    start = threading.Thread.start

    @functools.wraps(start)
    def start_noted(thread: threading.Thread) -> None:
        start(thread)
        if _noting is not None and _noting._open is not None:
            _noting._note(thread)

    setattr(threading.Thread, "start", start_noted)  # noqa: B010 - mypy allows no assignment


def _free() -> int:
    """Find a signal that nothing uses, of the real-time ones; 0 where there is none."""
    for number in range(signal.SIGRTMAX, signal.SIGRTMIN - 1, -1):
        if signal.getsignal(number) is signal.SIG_DFL:
            return number
    return 0
