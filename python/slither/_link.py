"""The worker's connection: one reader at a time, who sorts what comes for all threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from slither import _frames as frames
from slither._answer import Pieces, clean, describe, encode_error, frame
from slither._codec import encode, encode_small, encode_view
from slither._errors import DecodeError, ProtocolError, SlitherError
from slither._walk import MAX_DEPTH

if TYPE_CHECKING:
    from slither._types import Payload
    from slither.erlport import Port


class Incoming(NamedTuple):
    """A call that waits for its turn, and what reading it took in microseconds."""

    call: frames.Call
    decode_us: int


class Link:
    """Frames in and out. Every method is safe from any thread."""

    def __init__(self, port: Port) -> None:
        """Take the port; nothing is read yet."""
        self._port = port
        self._changed = threading.Condition()
        self._reading = False
        self._waiters = 0
        self._calls: deque[Incoming] = deque()
        self._waiting: dict[int, frames.ViewReply | None] = {}
        self._view_ids = 0
        self._cancelled: set[int] = set()
        self._credit_lock = threading.Lock()
        self._credits = 0
        self._dropped = 0
        self._stopping = False
        self.ended = False
        """Whether no more frames are to come."""
        self.welcome: frames.Welcome | None = None

    def send(self, pieces: Pieces) -> None:
        """Send one frame."""
        self._port.write(*pieces)

    def next_call(self) -> Incoming | None:
        """Wait for a call; None when the worker is to stop."""
        self._pump(lambda: bool(self._calls) or self._stopping)
        with self._changed:
            return self._calls.popleft() if self._calls else None

    def await_welcome(self) -> frames.Welcome | None:
        """Wait for the welcome; None when the other side is gone."""
        self._pump(lambda: self.welcome is not None)
        return self.welcome

    def ask_view(
        self, call: int, name: str, mode: int, params: Payload, timeout: int | None
    ) -> frames.ViewReply | None:
        """Send a view call and wait for its reply, None at the end of the connection.

        Other threads may ask meanwhile.
        """

        def pieces(identity: int) -> Pieces:
            small = encode_small([frames.VIEW_CALL, identity, call, name, mode, params, timeout])
            if small is not None:
                return (small,)
            head = frames.VIEW_CALL, identity, call, clean(name), mode
            body = encode_view(params, "params", MAX_DEPTH + mode)
            return b"\x97" + b"".join(map(encode, head)), body, encode(timeout)

        return self._ask(pieces)

    def ask_table(
        self, call: int, table: str, op: str, arguments: list[Payload]
    ) -> frames.ViewReply | None:
        """Send an operation on a table and wait for its reply, as :meth:`ask_view` does."""

        def pieces(identity: int) -> Pieces:
            small = encode_small([frames.TABLE_CALL, identity, call, table, op, arguments])
            if small is not None:
                return (small,)
            head = frames.TABLE_CALL, identity, call, clean(table), op
            return b"\x96" + b"".join(map(encode, head)), encode_view(
                arguments, op, MAX_DEPTH + 3
            )

        return self._ask(pieces)

    def _ask(self, pieces: Callable[[int], Pieces]) -> frames.ViewReply | None:
        with self._changed:
            self._view_ids += 1
            identity = self._view_ids
            self._waiting[identity] = None
        try:
            self._port.write(*pieces(identity))
            self._pump(lambda: self._waiting[identity] is not None)
            return self._waiting[identity]
        finally:
            with self._changed:
                del self._waiting[identity]

    def is_cancelled(self, call: int) -> bool:
        """Tell whether the caller of ``call`` is gone, after a look at what has come."""
        if threading.current_thread() is threading.main_thread():
            while not self.ended and not self._reading and self._port.has_input():
                self._pump_once()
        return call in self._cancelled or self.ended

    def forget(self, call: int) -> None:
        """Drop what is known about a call that is answered."""
        if self._cancelled:
            self._cancelled = {other for other in self._cancelled if other > call}

    def add_credit(self, count: int) -> None:
        """Allow ``count`` more log, progress and part frames."""
        with self._credit_lock:
            self._credits += count

    def log(self, call: int, level: str, logger: str, message: str) -> None:
        """Send a log frame, or count it as dropped."""
        with self._credit_lock:
            if self._credits < 1:
                self._dropped += 1
                return
            self._credits -= 1
            dropped, self._dropped = self._dropped, 0
        body = frame(frames.LOG, call, level, clean(logger, 255), clean(message), dropped)
        self._send_quietly(body)

    def progress(self, call: int, done: int, total: int | None) -> None:
        """Send a progress frame, or count it as dropped."""
        with self._credit_lock:
            if self._credits < 1:
                self._dropped += 1
                return
            self._credits -= 1
        self._send_quietly(frame(frames.PROGRESS, call, done, total))

    def _send_quietly(self, body: bytes) -> None:
        try:
            self._port.write(body)
        except (OSError, ProtocolError):
            # Nobody is left to read it; the main loop learns of the end by itself.
            return

    def _pump(self, ready: Callable[[], bool]) -> None:
        """Read until ``ready`` or the end; one thread reads, the others wait for it."""
        with self._changed:
            while True:
                if ready() or self.ended:
                    return
                if not self._reading:
                    break
                self._waiters += 1
                try:
                    self._changed.wait()
                finally:
                    self._waiters -= 1
            self._reading = True
        try:
            while not (ready() or self.ended):
                self._take_one()
        finally:
            self._stop_reading()

    def _pump_once(self) -> None:
        with self._changed:
            if self._reading:
                return
            # Asked again under the lock: another thread may have read what was there.
            if not self._port.has_input():
                return
            self._reading = True
        try:
            self._take_one()
        finally:
            self._stop_reading()

    def _stop_reading(self) -> None:
        with self._changed:
            self._reading = False
            if self._waiters:
                self._changed.notify_all()

    def _take_one(self) -> None:
        body: bytes | bytearray = b""
        try:
            body = self._port.read_body()
            began = time.perf_counter_ns()
            self._take(frames.parse(body), began)
        except (DecodeError, ProtocolError) as error:
            self._refuse(body, error)
        except (EOFError, OSError):
            self.ended = True

    def _take(self, got: frames.Frame, began: int) -> None:
        if isinstance(got, frames.Ping):
            self._port.write(frame(frames.PONG, got.token))
            return
        with self._changed:
            if self._waiters:
                self._changed.notify_all()
            if isinstance(got, frames.Call):
                self._calls.append(Incoming(got, (time.perf_counter_ns() - began) // 1_000))
            elif isinstance(got, frames.ViewReply):
                # A reply that nobody waits for any more is of no use, and no fault.
                if got.id in self._waiting:
                    self._waiting[got.id] = got
            elif isinstance(got, frames.Credit):
                self.add_credit(got.count)
            elif isinstance(got, frames.Cancel):
                self._cancelled.add(got.id)
            elif isinstance(got, frames.Shutdown):
                self._stopping = True
            elif isinstance(got, frames.Welcome) and self.welcome is None:
                self.welcome = got
            elif not isinstance(got, frames.Pong):
                name = type(got).__name__.lower()
                raise ProtocolError(f"a worker expects no {name} frame here")

    def _refuse(self, body: bytes | bytearray, error: SlitherError) -> None:
        kind, identity = frames.peek(body)
        identity = identity if kind in (frames.CALL, frames.CANCEL) else 0
        unread = kind == frames.CALL and isinstance(error, DecodeError)
        name = "not_decodable" if unread else "protocol"
        self._port.write(encode_error(identity, describe(name, str(error))))
