"""Where each thread is, for BEAM, which asks by a signal: written to memory that both have open.

The main thread makes the memory and says in it which signals ask. Python's faulthandler
answers, in C and in the thread that gets the signal, so that code which holds the interpreter's
lock is seen as well. Whoever starts a thread notes its name there. BEAM opens the memory by the
worker's descriptor, and empties it before it asks; :mod:`slither._worker.marker` has one like it.

One signal is for the main thread while it computes: it is the one whose frames change then. A
signal would end what it waits for in the system early, though, where C code is not made for that.
So while it waits another signal asks, which all threads hold back but one of this module's, which
has nothing else to do.
"""

from __future__ import annotations

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

from slither._worker import signals
from slither._worker.marker import nameless, place
from slither._worker.process import aside

_NAME = 48
_ROW = struct.Struct(f"<QQ{_NAME}s")
"""A thread: its identity, how many were noted before it, and its name."""
_ROWS = 128
_HEAD = struct.Struct("<QQQ")
"""The signal that asks the main thread, the other, 0 for none, and the thread that gets that."""
SIZE = _HEAD.size + _ROW.size * _ROWS
"""Bytes before what faulthandler writes: the signals, and the threads."""


class Stacks:
    """The signals that BEAM asks by, the names of threads, and the answer."""

    def __init__(self) -> None:
        """Make the memory; nobody else has it open yet, and no signal asks."""
        self._file: int | None = None
        self._busy = self._waits = self._thread = 0
        self._rows = itertools.count()
        file = nameless(SIZE)
        if file is not None:
            self._file = aside(file)
            os.close(file)

    @property
    def place(self) -> list[int] | None:
        """Where BEAM finds the memory."""
        return None if self._file is None else place(self._file)

    def settle(self, shared: bool) -> None:
        """Answer from now on, if BEAM has opened the memory."""
        if self._file is None:
            return
        if not shared:
            os.close(self._file)
            self._file = None
            return
        # Each answer goes behind what there is, wherever BEAM has cut the file.
        fcntl.fcntl(self._file, fcntl.F_SETFL, os.O_APPEND)
        self._memory = mmap.mmap(self._file, SIZE)
        self._name_threads()
        self._busy = _answer_by(_free(signal.SIGRTMAX + 1), self._file)
        self._waits = _free(self._busy)
        if self._waits:
            self._start()
        self._say()
        signals.on_taken = self._give_way
        os.register_at_fork(after_in_child=self._leave_to_parent)

    def _start(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {self._waits})
        started = threading.Lock()
        started.acquire()
        try:
            start_new_thread(self._wait, (started.release,))
        except RuntimeError:
            # The system gives this process no more threads.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {self._waits})
            self._waits = 0
        else:
            started.acquire()
            assert self._file is not None
            _answer_by(self._waits, self._file)

    def _say(self) -> None:
        _HEAD.pack_into(self._memory, 0, self._busy, self._waits, self._thread)

    def _wait(self, ready: Callable[[], None]) -> None:
        # No other signal may come here: the user's code may wait for it.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - {self._waits})
        self._thread = threading.get_native_id()
        ready()
        while True:
            signal.pause()

    def _give_way(self, number: int) -> None:
        # The user's own handler is about to be set for it.
        file = self._file
        if file is None or number not in (self._busy, self._waits):
            return
        busy = self._busy
        if number == self._waits:
            # No thread of the user's holds another back.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
            self._waits = 0
        else:
            self._busy = 0
        self._say()
        faulthandler.unregister(number)
        if number == busy:
            self._busy = _answer_by(_free(min(filter(None, (busy, self._waits)))), file)
            self._say()

    def _name_threads(self) -> None:
        self._note(threading.main_thread())
        start = threading.Thread.start

        @functools.wraps(start)
        def start_noted(thread: threading.Thread) -> None:
            start(thread)
            if self._file is not None:
                self._note(thread)

        setattr(threading.Thread, "start", start_noted)  # noqa: B010 - mypy allows no assignment

    def _note(self, thread: threading.Thread) -> None:
        # The main thread has the first row for good.
        count = next(self._rows)
        row = count if count < _ROWS else 1 + (count - 1) % (_ROWS - 1)
        name = thread.name.encode("utf-8", "replace")[:_NAME]
        _ROW.pack_into(self._memory, _HEAD.size + row * _ROW.size, thread.ident or 0, count, name)

    def _leave_to_parent(self) -> None:
        # In a child that was forked: the memory is its parent's.
        signals.on_taken = None
        for number in filter(None, (self._busy, self._waits)):
            faulthandler.unregister(number)
        if self._waits:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {self._waits})
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _free(below: int) -> int:
    """Find a signal that nothing uses, of the real-time ones; 0 where there is none."""
    for number in range(below - 1, signal.SIGRTMIN - 1, -1):
        if signal.getsignal(number) is signal.SIG_DFL:
            return number
    return 0


def _answer_by(number: int, file: int) -> int:
    if number:
        faulthandler.register(number, file=file, all_threads=True, chain=False)
    return number
