"""The worker's connection: one reader at a time, who sorts what comes for all threads."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from slither._errors import DecodeError, ProtocolError, SlitherError
from slither._wire import build, frames
from slither._wire.build import Pieces, frame, table_call, view_call
from slither._wire.faults import clean, describe
from slither._worker import signals
from slither._worker.spin import Patience
from slither._worker.watcher import Watcher

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._worker.yielded import Stream
    from slither.erlport import Port


# An array of a kind and the longest id.
_CANCEL_SIZE = 11
# Items of a call up to which waking up for it is much of what it costs.
_FEW = 8
# Without credit, seconds between two looks whether some has come: what bounds a flood of lines.
_LOOK_EVERY = 0.1

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50, "none": 60}
"""The levels of log frames, and which of them a worker sends, by name."""


class Incoming(NamedTuple):
    """A call that waits for its turn, and what reading it took in microseconds."""

    call: frames.Call
    decode_us: int


class Link:
    """Frames in and out. Every method is safe from any thread."""

    def __init__(self, port: Port) -> None:
        """Take the port; nothing is read yet."""
        self._port = port
        self._patience = Patience()
        self._between_calls = Patience()
        self._brief = False
        self._turn = threading.Lock()
        """Whoever holds it reads."""
        self._changed = threading.Condition()
        self._waiters = 0
        self._calls: deque[Incoming] = deque()
        self._waiting: dict[int, frames.Answer | None] = {}
        self._next_id = itertools.count(1).__next__
        # Threads that ask: the garbage collector may run a finaliser in the middle of that.
        self._asking: set[int] = set()
        self._later: deque[Pieces] = deque()
        self._cancelled: set[int] = set()
        # What the garbage collector runs may log, wherever it comes in.
        self._credit_lock = threading.RLock()
        self._credits = 0
        self._dropped = 0
        self._dropped_call = 0
        self._next_look = 0.0
        self.log_level = LEVELS["debug"]
        """The least that is sent."""
        self._stopping = False
        self._fresh = False
        self.ended = False
        """Whether no more frames are to come."""
        self.welcome: frames.Welcome | None = None
        self.watcher = Watcher(self)
        self.news = 0
        """How much has come for the call that runs: cancels, and credit for its results."""
        self.ahead = 1
        """How many results a handler that yields may be ahead of their consumer."""
        self.stream: Stream | None = None
        """Where the results of the call go that runs, if its handler yields them."""

    def send(self, pieces: Pieces) -> None:
        """Send one frame."""
        self._send_later()
        self._port.write(*pieces)

    def _send_later(self) -> None:
        while self._later:
            self._port.write(*self._later.popleft())

    def next_call(self) -> Incoming | None:
        """Wait for a call; None when the worker is to stop."""
        fills = self._port.fills
        began = time.perf_counter_ns() if self._brief else 0
        while not (self._calls or self._stopping or self.ended):
            if self._turn.acquire(False):
                try:
                    while not (self._calls or self._stopping or self.ended):
                        if began and self._between_calls.looks:
                            self._port.look_for_input()
                        signals.while_idle(self._port.wait_for_input)
                        self._take_one()
                finally:
                    self._give_turn()
            else:
                self._pump(lambda: bool(self._calls) or self._stopping)
        # What was sent right after a call that has just come has come with it.
        self._fresh = self._port.fills != fills
        if began and self._fresh:
            self._between_calls.took(time.perf_counter_ns() - began)
        if not self._calls:
            return None
        incoming = self._calls.popleft()
        self._brief = len(incoming.call.items) <= _FEW
        return incoming

    def await_welcome(self) -> frames.Welcome | None:
        """Wait for the welcome; None when the other side is gone."""
        self._pump(lambda: self.welcome is not None)
        return self.welcome

    @signals.whole
    def ask_view(
        self, call: int, name: str, mode: int, params: Payload, timeout: int | None
    ) -> frames.Answer | None:
        """Send a view call and wait for its reply, None at the end of the connection.

        Other threads may ask meanwhile.
        """
        identity = self._next_id()
        return self._ask(
            identity, *view_call(identity, call, name, mode, params, timeout=timeout)
        )

    @signals.whole
    def ask_table(
        self, call: int, table: str, op: str, arguments: tuple[Payload, ...]
    ) -> frames.Answer | None:
        """Send an operation on a table and wait for its reply, as :meth:`ask_view` does."""
        identity = self._next_id()
        return self._ask(identity, *table_call(identity, call, table, op, arguments))

    def tell_table(self, call: int, table: str, op: str, arguments: tuple[Payload, ...]) -> None:
        """Have an operation run whose answer nobody waits for, wherever a finaliser asks for it.

        It goes before what is sent next.
        """
        self._later.append(table_call(self._next_id(), call, table, op, arguments))

    def _ask(self, identity: int, *pieces: bytes | memoryview) -> frames.Answer | None:
        me = threading.get_ident()
        if me in self._asking:
            raise SlitherError(
                "a finaliser asked BEAM for something while the garbage collector ran it in the "
                "middle of another question of the same thread; ask from the handler's own code"
            )
        self._asking.add(me)
        try:
            self._send_later()
            return self._exchange(identity, *pieces)
        finally:
            self._asking.discard(me)

    def _exchange(self, identity: int, *pieces: bytes | memoryview) -> frames.Answer | None:
        # The turn is taken before the question goes out: nobody else can read its reply, and
        # most replies are read by whoever asked, without a word to other threads.
        if self._turn.acquire(False):
            try:
                began = time.perf_counter_ns()
                self._port.write(*pieces)
                if self._patience.looks:
                    self._port.look_for_input()
                answer = None
                while answer is None and not self.ended:
                    signals.while_waiting(self._port.wait_for_input)
                    answer = self._take_one(identity)
                self._patience.took(time.perf_counter_ns() - began)
                return answer
            finally:
                self._give_turn()
        with self._changed:
            self._waiting[identity] = None
        try:
            self._port.write(*pieces)
            self._pump(lambda: self._waiting[identity] is not None)
            return self._waiting[identity]
        finally:
            with self._changed:
                del self._waiting[identity]

    @signals.whole
    def is_cancelled(self, call: int) -> bool:
        """Tell whether the caller of ``call`` is gone, after a look at what has come."""
        if threading.current_thread() is threading.main_thread():
            while not self.ended and self._read_one():
                continue
        return call in self._cancelled or self.ended

    def is_dropped(self, call: int) -> bool:
        """Tell whether ``call``, which has not begun, was cancelled.

        Only frames as short as a cancel are read for it: another call can wait in the pipe.
        """
        if self._turn.acquire(blocking=False):
            try:
                while self._port.has_message(_CANCEL_SIZE, look=not self._fresh):
                    self._take_one()
            finally:
                self._give_turn()
        return call in self._cancelled

    def is_gone(self, call: int) -> bool:
        """Tell what :meth:`is_cancelled` does as far as it is known, without a look."""
        return call in self._cancelled or self.ended

    @signals.whole
    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready``, which changes with what comes, or the end."""
        self._pump(ready)

    def forget(self, call: int) -> None:
        """Drop what is known about a call that is answered."""
        if self._cancelled:
            self._cancelled = {other for other in self._cancelled if other > call}

    def add_credit(self, count: int) -> None:
        """Allow ``count`` more log and progress frames."""
        with self._credit_lock:
            self._credits += count

    @signals.whole
    def log(
        self,
        call: int,
        level: str,
        logger: str,
        message: str,
        facts: dict[str, Payload] | None = None,
    ) -> None:
        """Send a log frame, or count it as dropped."""
        if LEVELS[level] < self.log_level or not self._pay(call):
            return
        with self._credit_lock:
            dropped, self._dropped = self._dropped, 0
        name, text = clean(logger, 255), clean(message)
        body = frame(frames.LOG, call, level, name, text, dropped, facts)
        self._send_quietly(body)

    def tell_dropped(self, without_credit: bool = False) -> None:
        """Tell how much was dropped since that was last told, if there is credit to."""
        with self._credit_lock:
            if self._dropped == 0 or not (self._credits or without_credit):
                return
            self._credits = max(0, self._credits - 1)
            dropped, self._dropped = self._dropped, 0
        body = frame(frames.LOG, self._dropped_call, "warning", "slither", "", dropped, None)
        self._send_quietly(body)

    @signals.whole
    def hold(self, call: int, run: str) -> None:
        """Tell that this worker holds state of a run."""
        self._send_quietly(frame(frames.SESSION, call, run))

    @signals.whole
    def progress(self, call: int, done: int, total: int | None) -> None:
        """Send a progress frame, or count it as dropped."""
        if self._pay(call):
            self._send_quietly(frame(frames.PROGRESS, call, done, total))

    def _pay(self, call: int) -> bool:
        # In the middle of a frame, another would have to wait for this very thread.
        free = not self._port.is_written_here
        if free and self._credits < 1:
            self._look_for_credit()
        with self._credit_lock:
            if free and self._credits > 0:
                self._credits -= 1
                return True
            self._dropped += 1
            self._dropped_call = call
            return False

    def _look_for_credit(self) -> None:
        # A handler that is at work reads nothing by itself.
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY
        with suppress(OSError, ProtocolError):
            while self._credits < 1 and not self.ended and self._read_one():
                continue

    def _send_quietly(self, body: bytes) -> None:
        try:
            self._port.write(body)
        except (OSError, ProtocolError):
            # Nobody is left to read it; the main loop learns of the end by itself.
            return

    def _pump(self, ready: Callable[[], bool]) -> None:
        """Read until ``ready`` or the end; one thread reads, the others wait for it."""
        with self._changed:
            self._waiters += 1
            try:
                while True:
                    if ready() or self.ended:
                        return
                    # Counted as a waiter before this: who gives the turn back then sees one.
                    if self._turn.acquire(blocking=False):
                        break
                    self._changed.wait()
            finally:
                self._waiters -= 1
        try:
            while not (ready() or self.ended):
                signals.while_waiting(self._port.wait_for_input)
                self._take_one()
        finally:
            self._give_turn()

    def _read_one(self) -> bool:
        """Read a frame that is there; False where none is, or another thread reads."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if not self._port.has_input():
                return False
            self._take_one()
            return True
        finally:
            self._give_turn()

    def _give_turn(self) -> None:
        self._turn.release()
        if self._waiters:
            with self._changed:
                self._changed.notify_all()

    def _take_one(self, identity: int = 0) -> frames.Answer | None:
        """Read one frame: the reply to ``identity`` is returned, all else kept for its reader."""
        body: bytes | bytearray = b""
        try:
            body = self._port.read_body()
            reply = frames.parse_reply(body)
            if reply is None:
                self._take(body)
            elif reply[0] == identity:
                return reply[1:]
            else:
                self._keep(reply)
        except (DecodeError, ProtocolError) as error:
            self._refuse(body, error)
        except (EOFError, OSError):
            self.ended = True
        return None

    def _keep(self, reply: tuple[int, int, Payload]) -> None:
        with self._changed:
            # A reply that nobody waits for any more is of no use, and no fault.
            if reply[0] in self._waiting:
                self._waiting[reply[0]] = reply[1:]
                self._changed.notify_all()

    def _take(self, body: bytes | bytearray) -> None:
        began = time.perf_counter_ns()
        got = frames.parse(body)
        if isinstance(got, frames.Call):
            self._calls.append(Incoming(got, (time.perf_counter_ns() - began) // 1_000))
            if self._waiters:
                with self._changed:
                    self._changed.notify_all()
            return
        if isinstance(got, frames.ViewReply):
            self._keep(got)
            return
        if isinstance(got, frames.Ping):
            self._port.write(frame(frames.PONG, got.token))
            return
        if isinstance(got, frames.Credit) and got.id == 0:
            self.add_credit(got.count)
            self.tell_dropped()
            return
        with self._changed:
            if self._waiters:
                self._changed.notify_all()
            if isinstance(got, frames.Credit):
                self._take_credit(got)
            elif isinstance(got, frames.Cancel):
                self._cancelled.add(got.id)
                self.news += 1
            elif isinstance(got, frames.Shutdown):
                self._stopping = True
            elif isinstance(got, frames.Welcome) and self.welcome is None:
                self.welcome = got
            elif not isinstance(got, frames.Pong):
                name = type(got).__name__.lower()
                raise ProtocolError(f"a worker expects no {name} frame here")

    def _take_credit(self, got: frames.Credit) -> None:
        stream = self.stream
        if stream is not None and stream.id == got.id:
            stream.allow(got.count)
            self.news += 1

    def _refuse(self, body: bytes | bytearray, error: SlitherError) -> None:
        kind, identity = frames.peek(body)
        identity = identity if kind in (frames.CALL, frames.CANCEL) else 0
        unread = kind == frames.CALL and isinstance(error, DecodeError)
        name = "not_decodable" if unread else "protocol"
        self._port.write(build.error(identity, describe(name, str(error))))
