"""A worker's connection to BEAM: it sorts what comes, and offers what handlers and calls ask for.

The main thread makes it and takes calls from it; handlers' threads and the watcher use it, too.
Every method is safe from any thread. Who reads is decided in :mod:`slither._worker.reading`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from slither._errors import DecodeError, ProtocolError, SlitherError
from slither._io.port import Port
from slither._types import Payload
from slither._wire import build, frames, late
from slither._wire.build import Pieces
from slither._wire.faults import describe
from slither._wire.glance import kind_and_id
from slither._worker import current, reads, signals
from slither._worker.patience import Patience
from slither._worker.questions import Questions
from slither._worker.reading import Reader
from slither._worker.reports import Reports

# Bytes of the longest cancel frame: an array of a kind and an id.
_CANCEL_SIZE = 11
# Seconds between two frames of what a call that runs long has counted.
_COUNTS_EVERY = 1.0
# A call with so few items costs little more than waking up for it.
_FEW = 8


class Incoming(NamedTuple):
    """A call that waits for its turn, and what reading it took in microseconds."""

    call: frames.Call
    decode_us: int


class Link:
    """Frames in and out."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self.reader = Reader(port, self)
        self.reports = Reports(port, self.reader)
        """Logs, progress, and their credit."""
        self._questions = Questions(port, self.reader)
        self.keep = self._questions.keep
        self.hold = self.reports.hold
        self._next_counts = 0.0
        self._between_calls = Patience()
        self._brief = False
        self._fresh = False
        self._calls: deque[Incoming] = deque()
        self._cancelled: set[int] = set()
        self._stopping = False
        self._welcome: frames.Welcome | None = None
        self.ahead = 1
        """How many results a handler that yields may be ahead of their consumer."""
        self.on_credit: Callable[[int, int], bool] | None = None
        """What hears of results that BEAM has taken: see :class:`slither._worker.ports.Line`."""
        self.news = 0
        """How much has come for the call that runs: cancels, and credit for its results."""

    ## For the main loop

    def await_welcome(self) -> frames.Welcome | None:
        """Wait for the welcome; None when the other side is gone."""
        self.reader.wait(lambda: self._welcome is not None)
        return self._welcome

    def next_call(self) -> Incoming | None:
        """Wait for a call; None when the worker is to stop."""
        port, reader, calls = self._port, self.reader, self._calls
        fills = port.fills
        began = time.perf_counter_ns() if self._brief else 0
        while not (calls or self._stopping or reader.ended):
            if reader.take_turn():
                try:
                    while not (calls or self._stopping or reader.ended):
                        if began and self._between_calls.looks:
                            port.look_for_input()
                        signals.while_idle(port.wait_for_input)
                        reader.read()
                finally:
                    reader.give_turn()
            else:
                reader.wait(lambda: bool(calls) or self._stopping)
        # A read that this call needed has also taken whatever BEAM sent right behind it.
        self._fresh = port.fills != fills
        if began and self._fresh:
            self._between_calls.took(time.perf_counter_ns() - began)
        if not calls:
            return None
        incoming = calls.popleft()
        self._brief = len(incoming.call.items) <= _FEW
        return incoming

    @property
    def is_over(self) -> bool:
        """Whether this process is to stop, once it has done what it has."""
        return self._stopping or self.reader.ended

    def calls_there(self) -> list[Incoming]:
        """Take the calls that are there, without waiting for one."""
        self.reader.read_what_is_there(lambda: False)
        calls = list(self._calls)
        self._calls.clear()
        return calls

    def is_dropped(self, call: int) -> bool:
        """Tell whether ``call``, which has not begun, was cancelled.

        Only frames as short as a cancel are read for it: another call can wait in the pipe.
        """
        if self.reader.take_turn():
            try:
                while self._port.has_message(_CANCEL_SIZE, look=not self._fresh):
                    self.reader.read()
            finally:
                self.reader.give_turn()
        return call in self._cancelled

    def forget(self, call: int) -> None:
        """Drop what is known about a call that is answered, be it that it never began."""
        current.sealed.discard(call)
        reads.forget(call)
        if self._cancelled:
            self._cancelled = {other for other in self._cancelled if other > call}

    def send(self, pieces: Pieces, call: int | None = None) -> None:
        """Send a frame, of the ``call`` that runs or has run, and before it what was counted."""
        self._questions.send_later()
        counted = self._counted(call)
        if counted is None:
            self._port.write(*pieces)
            return
        try:
            self._port.write_two(counted, *pieces)
        except ProtocolError:
            # The answer is too long; another is sent in its place.
            self._port.write(counted)
            raise

    def send_counted(self, call: int = 0) -> None:
        """Send what handlers have counted since the last answer."""
        if (counted := self._counted(call)) is not None:
            self._port.write(counted)

    def _counted(self, call: int | None) -> bytes | None:
        if current.counted is None or current.link is not self:
            return None
        counted = current.counted(current.running_id() if call is None else call)
        # Counts are lost where frames may only be so short, rather than an answer.
        return None if counted is None or len(counted) > self._port.max_frame else counted

    @signals.whole
    def tell(self, body: bytes) -> None:
        """Send a frame that nobody answers, from any thread."""
        # In the middle of a frame, this thread would wait for itself.
        if not self._port.is_written_here:
            self._port.write(body)

    ## For the call that runs

    def is_gone(self, call: int) -> bool:
        """Tell what :meth:`is_cancelled` does as far as it is known, without a look."""
        return call in self._cancelled or self.reader.ended

    @property
    def ended(self) -> bool:
        """Whether no more frames are to come."""
        return self.reader.ended

    @signals.whole
    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready``, which changes with what comes, or the end."""
        self.reader.wait(ready)

    ## For handlers

    @signals.whole
    def ask_view(
        self, call: int, name: str, mode: int, params: Payload, timeout: int | None
    ) -> frames.Answer | None:
        """Send a view call and wait for its reply, None at the end of the connection."""
        identity = self._questions.new_id()
        pieces = build.view_call(
            identity, call, name, mode, params, timeout=timeout, codec=current.codec
        )
        return self._questions.ask(identity, pieces)

    @signals.whole
    def ask_table(
        self, call: int, table: str, op: str, arguments: tuple[Payload, ...]
    ) -> frames.Answer | None:
        """Send an operation on a table and wait for its reply, as :meth:`ask_view` does."""
        identity = self._questions.new_id()
        pieces = build.table_call(identity, call, table, op, arguments, codec=current.codec)
        return self._questions.ask(identity, pieces)

    def tell_table(self, call: int, table: str, op: str, arguments: tuple[Payload, ...]) -> None:
        """Have an operation run whose answer nobody waits for, wherever a finaliser asks for it.

        It goes before what is sent next.
        """
        identity = self._questions.new_id()
        self._questions.tell(
            build.table_call(identity, call, table, op, arguments, codec=current.codec)
        )

    @signals.whole
    def progress(self, call: int, done: int, total: int | None) -> None:
        """Tell how far a call is, and what has been counted until then if that is due."""
        now = time.monotonic()
        if current.counted is not None and now >= self._next_counts:
            self._next_counts = now + _COUNTS_EVERY
            # As with reports: not in the middle of a frame, and not to whoever is gone.
            if not self._port.is_written_here:
                with suppress(OSError, ProtocolError):
                    self.send_counted(call)
        self.reports.progress(call, done, total)

    @signals.whole
    def is_cancelled(self, call: int) -> bool:
        """Tell whether the caller of ``call`` is gone, after a look at what has come."""
        if threading.current_thread() is threading.main_thread():
            self.reader.read_what_is_there(lambda: False)
        return self.is_gone(call)

    ## For the reader

    def take(self, body: bytes | bytearray) -> None:
        """Take a frame other than a reply."""
        began = time.perf_counter_ns()
        got = reads.parse(body, current.codec)
        if isinstance(got, frames.Call):
            if late.met():
                current.sealed.add(got.id)
            self._calls.append(Incoming(got, (time.perf_counter_ns() - began) // 1_000))
        elif isinstance(got, frames.ViewReply):
            self.keep(got)
        elif isinstance(got, frames.Ping):
            self._port.write(build.frame(frames.PONG, got.token))
        elif isinstance(got, frames.Credit) and got.id == 0:
            self.reports.add_credit(got.count)
            self.reports.tell_dropped()
        else:
            with self.reader.changed:
                self._change(got)
        self.reader.tell()

    def _change(self, got: frames.Frame) -> None:
        if isinstance(got, frames.Credit):
            on_credit = self.on_credit
            if on_credit is not None and on_credit(got.id, got.count):
                self.news += 1
        elif isinstance(got, frames.Cancel):
            self._cancelled.add(got.id)
            self.news += 1
        elif isinstance(got, frames.Shutdown):
            self._stopping = True
        elif isinstance(got, frames.Welcome) and self._welcome is None:
            self._welcome = got
        elif not isinstance(got, frames.Pong):
            name = type(got).__name__.lower()
            raise ProtocolError(f"a worker expects no {name} frame here")

    def refuse(self, body: bytes | bytearray, error: SlitherError) -> None:
        """Answer a frame that can't be taken."""
        kind, identity = kind_and_id(body)
        identity = identity if kind in (frames.CALL, frames.CANCEL) else 0
        unread = kind == frames.CALL and isinstance(error, DecodeError)
        name = "not_decodable" if unread else "protocol"
        self._port.write(build.error(identity, describe(name, str(error))))
