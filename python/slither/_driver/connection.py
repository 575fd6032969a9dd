"""The connection to BEAM, which no exception that comes between two steps can break.

Code of the program may be stopped between any two of its steps: by a Ctrl-C, by another signal
handler that raises, by the garbage collector, which runs finalisers wherever it likes. So a
thread of the program's never holds a lock of ours, and never leaves half of a change for others
to see. All that it does is to note who wants an answer, to hand a whole frame or order over, and
to take a whole answer out of a queue; each is one step of C code. An answer is for whoever has
its id: nothing is matched by counting.

- A frame is written by C code in one step, whole or not at all, by whoever sends it; a long one,
  and what must not wait (the closes of finalisers, calls that wait for room), by the *writer*, a
  thread that takes orders in turn.
- The *reader* sorts what comes by the id that each frame carries, and decodes no values.
- The *relay* (:mod:`slither._driver.relay`) runs what is the user's: done callbacks, and what
  shows logs and prints. Neither of the others ever waits for it.

Signal handlers run in the main thread only, which none of the three is. A finaliser may run in
any of them: what it asks for is queued, and what it would wait for is refused at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import os
import socket
import struct
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from slither._driver import launch
from slither._driver.errors_in import to_error
from slither._driver.relay import Relay
from slither._errors import BeamClosed, BeamDied, BeamError, ProtocolError
from slither._version import MAX_FRAME, PROTOCOL_VERSION
from slither._wire import driver_frames
from slither._wire import frames as worker
from slither._worker.connection import table_call
from slither._worker.results import frame

if TYPE_CHECKING:
    from slither._types import Payload

Pieces = tuple[bytes | memoryview, ...]

# Seconds that BEAM may take to end by itself after it has closed its side.
_STATUS_WAIT = 2.0
# Seconds more than it was given after which whoever closes a BEAM kills it himself.
_SLACK = 1.0
_HEADER = struct.Struct(">I")
_READ_AHEAD = 65_536
# Bytes of a frame that a thread of the program's sends itself: what does not fit the buffer is
# sent by the writer, which no signal handler interrupts.
_LONGEST = 262_144
# Bytes of small frames that the writer sends together.
_TOGETHER = 65_536


class Box(Protocol):
    """Takes what comes for one run or question, in the thread that reads; it must not wait."""

    def put(self, body: bytes | None) -> None:
        """Take one frame's body; None when no more will come."""


_Step = Callable[..., object]
_Order = tuple[_Step, _Step, tuple[object, ...]]


def _nothing(*_of: object) -> None:
    return


class Connection:
    """Frames to and from BEAM. Every method is safe from any thread, and may be interrupted."""

    def __init__(self, settings: dict[str, Payload], log: Callable[[worker.Log], None]) -> None:
        """Start BEAM and shake hands."""
        self.death: BeamError | None = None
        """Why BEAM is no more, or takes no more."""
        self.facts: dict[str, Payload] = {}
        """What BEAM said about itself."""
        self.relay = Relay(log)
        self.new_id = itertools.count(1).__next__
        """Returns a number that no other run or question has."""
        self.on_end: Callable[[], None] = lambda: None
        """What the writer calls when nothing more will be answered."""
        self.next_look: Callable[[], float | None] = lambda: None
        """Tells the writer after how many idle seconds to call :attr:`look`; None for never."""
        self.look: Callable[[], None] = lambda: None
        # What the writer is to do, what to do in any thread once the connection is over, and with
        # which arguments.
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._boxes: dict[int, Box] = {}
        self._small: list[bytes | memoryview] = []
        self._small_size = 0
        self._greetings: SimpleQueue[worker.Frame | None] = SimpleQueue()
        self._kill_at: float | None = None
        self._forked = False
        self._over = False
        self.finished = threading.Event()
        """Set when BEAM and both threads are gone."""
        self._spawn()
        try:
            self._greet(settings)
        except BaseException:
            self.kill()
            raise

    def _spawn(self) -> None:
        ours, theirs = _sockets()
        try:
            self.child = launch.start(theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours
        self._stream = _Stream(ours.fileno())
        self._writer = threading.Thread(target=self._write, name="slither-writer", daemon=True)
        self._reader = threading.Thread(target=self._read, name="slither-reader", daemon=True)
        _connections.add(self)
        _quiet_forks()
        self.relay.start()
        self._writer.start()
        self._reader.start()

    def _greet(self, settings: dict[str, Payload]) -> None:
        hello = self._greeting()
        if isinstance(hello, worker.Hello):
            self.facts = {**hello.facts, "protocol": hello.version}
        self.send(frame(worker.WELCOME, PROTOCOL_VERSION, settings))
        self._greeting()

    def _greeting(self) -> worker.Frame | None:
        got = self._greetings.get()
        if isinstance(got, worker.Failed):
            raise BeamDied(f"BEAM could not start: {got.error['message']}")
        if got is None:
            self.check()
        return got

    ## For the threads of the program

    def send(
        self, *pieces: bytes | memoryview, identity: int = 0, box: Box | None = None
    ) -> None:
        """Send one frame, given in pieces, whose answers go to ``box``.

        It is with the system when this returns, or an exception came first: then it is sent whole
        with the next frame, or not at all.
        """
        self.check()
        size = sum(map(len, pieces))
        if not 0 < size <= MAX_FRAME:
            raise ProtocolError(f"a frame of {size} bytes; the limits are 1 and {MAX_FRAME}")
        if box is not None:
            self._boxes[identity] = box
        if size <= _LONGEST:
            self._stream.put(b"".join((_HEADER.pack(size), *pieces)))
        else:
            self.refuse_ourselves()
            sent: SimpleQueue[None] = SimpleQueue()
            self.order(self._send_long, size, pieces, sent, refuse=_told)
            sent.get()
        # Noted, and then looked at: who ends it looks at what is noted after it has said so.
        self.check()

    def order(self, carry_out: _Step, *args: object, refuse: _Step = _nothing) -> None:
        """Have the writer call ``carry_out``, or ``refuse`` where the connection is over."""
        self._orders.put((carry_out, refuse, args))
        if self._over:
            self._refuse_orders()

    def start(self, identity: int, box: Box, kind: str, spec: Payload) -> None:
        """Begin a run whose frames go to ``box``."""
        self.refuse_ourselves()
        self.send(frame(driver_frames.START, identity, kind, spec), identity=identity, box=box)

    def cancel(self, identity: int) -> None:
        """Give up a run; it never waits and nothing is raised, whoever calls it."""
        if not self._forked:
            self.order(self._cancel_now, identity)

    def request(self, name: str, arguments: dict[str, Payload]) -> Payload:
        """Ask BEAM for something by name, and return its answer or raise its error."""
        identity = self.new_id()
        status, value = self._ask(
            identity, frame(driver_frames.REQUEST, identity, name, arguments)
        )
        if status == 0:
            return value
        raise to_error(value)

    def ask_table(
        self, call: int, table: str, op: str, arguments: tuple[Payload, ...]
    ) -> worker.Answer:
        """Run one operation on a table, as a worker's ``Link.ask_table`` does."""
        identity = self.new_id()
        return self._ask(identity, *table_call(identity, call, table, op, arguments))

    def tell_table(self, table: str, op: str, arguments: tuple[Payload, ...]) -> None:
        """Have an operation run whose answer nobody waits for; it may be a finaliser's."""
        if not self._forked:
            pieces = table_call(self.new_id(), 0, table, op, arguments)
            self.order(self._tell_now, pieces)

    def _tell_now(self, pieces: Pieces) -> None:
        if self.death is None:
            self.write(pieces, sum(map(len, pieces)))

    def _ask(self, identity: int, *pieces: bytes | memoryview) -> worker.Answer:
        self.refuse_ourselves()
        box: SimpleQueue[bytes | None] = SimpleQueue()
        self.send(*pieces, identity=identity, box=box)
        body = box.get()
        if body is None:
            raise self.gone()
        reply = worker.parse_reply(body)
        if reply is None:
            raise BeamError("BEAM gave no answer")
        return reply[1:]

    def check(self) -> None:
        """Raise the reason where BEAM takes nothing from this process any more."""
        if self._forked:
            raise BeamError(
                "this Beam belongs to the process that started it, and this is a fork of that; "
                "start another one here"
            )
        if self.death is not None:
            raise self.gone()

    def gone(self) -> BeamError:
        """Return an exception of its own for each who is told that BEAM is gone."""
        death = self.death
        if isinstance(death, BeamDied):
            return BeamDied(death.reason, death.status, death.log)
        return BeamClosed(str(death) if death else "the Beam is closed")

    def is_ours(self) -> bool:
        """Tell whether the thread that asks is the writer or the reader."""
        return threading.current_thread() in (self._writer, self._reader)

    def refuse_ourselves(self) -> None:
        """Raise where the writer or the reader asks for what it would wait for."""
        if self.is_ours():
            raise BeamError(
                "a finaliser asked the Beam for something while the garbage collector ran it in "
                "a thread of Slither's own, which would wait for itself; a finaliser may close "
                "what it has, and leave the rest to another thread"
            )

    ## The end

    def begin_close(self, timeout: float) -> None:
        """Have BEAM end in order, within ``timeout`` seconds, and killed then; it never waits."""
        if not self._forked and not self._over:
            self.order(self._close_now, timeout)

    def close(self, timeout: float) -> None:
        """Do what :meth:`begin_close` does, and wait until all is gone.

        A KeyboardInterrupt while it waits kills it at once, as any other exception does.
        """
        if self._forked:
            return
        try:
            self.begin_close(timeout)
            if self.is_ours():
                return
            if not self.finished.wait(timeout + _SLACK):
                self.kill()
            self.relay.join(timeout)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End BEAM at once; its workers end with it."""
        if self._forked:
            return
        self.begin_close(0.0)
        self.child.kill()
        self.finished.wait(_STATUS_WAIT)

    ## The writer

    def _write(self) -> None:
        orders = self._orders
        try:
            while not self._over:
                try:
                    carry_out, _refuse, args = orders.get_nowait()
                except Empty:
                    self._flush()
                    carry_out, _refuse, args = self._next_order()
                carry_out(*args)
        finally:
            self._over = True
            # Closed when nobody can write any more: its number must not be another file's then.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._refuse_orders()
            self.relay.stop()
            self.finished.set()

    def _next_order(self) -> _Order:
        while True:
            wait, looks = self.next_look(), True
            if self._kill_at is not None:
                wait, looks = max(0.0, self._kill_at - time.monotonic()), False
            try:
                return self._orders.get(timeout=wait)
            except Empty:
                if looks:
                    self.look()
                else:
                    self._kill_at = None
                    self.child.kill()

    def _send_long(self, size: int, pieces: Pieces, sent: SimpleQueue[None]) -> None:
        try:
            if self.death is None:
                self.write(pieces, size)
                self._flush()
        finally:
            sent.put(None)

    def _cancel_now(self, identity: int) -> None:
        if self._boxes.pop(identity, None) is not None and self.death is None:
            body = frame(worker.CANCEL, identity)
            self.write((body,), len(body))

    def _close_now(self, timeout: float) -> None:
        first = self.death is None
        self._end_with(BeamClosed("the Beam is closed"))
        if first:
            body = frame(worker.SHUTDOWN, int(timeout * 1_000))
            self.write((body,), len(body))
            self._kill_at = time.monotonic() + timeout

    def _ended_now(self, error: BeamDied) -> None:
        self._end_with(error)
        self._greetings.put(None)
        self._over = True

    def write(self, pieces: Pieces, size: int) -> None:
        """Send a frame, a small one together with others; only for the writer."""
        self._small += (_HEADER.pack(size), *pieces)
        self._small_size += size
        if self._small_size > _TOGETHER:
            self._flush()

    def route(self, identity: int, box: Box) -> None:
        """Note who gets what comes with an id; only for the writer."""
        self._boxes[identity] = box

    def _flush(self) -> None:
        small, self._small = self._small, []
        size, self._small_size = self._small_size, 0
        # In one piece, a long one too: other threads write their frames before it or after it.
        if size:
            self._stream.put(b"".join(small))

    def _refuse_orders(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                _carry_out, refuse, args = self._orders.get_nowait()
                refuse(*args)

    def _end_with(self, error: BeamError) -> None:
        if self.death is None:
            self.death = error
        for identity in list(self._boxes):
            box = self._boxes.pop(identity, None)
            if box is not None:
                box.put(None)
        self.on_end()

    ## The reader

    def _read(self) -> None:
        fault = "BEAM closed the connection"
        try:
            with io.FileIO(self._socket.fileno(), closefd=False) as raw:
                self._read_frames(io.BufferedReader(raw, _READ_AHEAD))
        except OSError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            fault = f"what BEAM sent could not be read: {error}"
        self._end(fault)

    def _read_frames(self, stream: io.BufferedReader) -> None:
        while len(head := stream.read(_HEADER.size)) == _HEADER.size:
            (size,) = _HEADER.unpack(head)
            if not 0 < size <= MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes")
            body = stream.read(size)
            if len(body) < size:
                return
            self._sort(body)

    def _sort(self, body: bytes) -> None:
        kind, identity = driver_frames.head(body)
        if kind in _LASTING:
            box = self._boxes.get(identity)
        elif kind in _LAST:
            box = self._boxes.pop(identity, None)
        else:
            self._take(body)
            return
        # What has ended crossed this frame.
        if box is not None:
            box.put(body)

    def _take(self, body: bytes) -> None:
        got = driver_frames.parse(body)
        if isinstance(got, worker.Log):
            self.relay.show(got)
        elif isinstance(got, worker.Hello | worker.Ready | worker.Failed):
            self._greetings.put(got)
        elif not isinstance(got, worker.Pong):
            raise ProtocolError(f"a driver expects no {type(got).__name__.lower()} frame")

    def _end(self, fault: str) -> None:
        status = self.child.wait(_STATUS_WAIT)
        if status is None:
            self.child.kill()
        error = BeamDied(_how(status, fault), status, self.child.last_words()[-20:])
        self.order(self._ended_now, error)

    def __del__(self) -> None:
        """Close the socket; a connection that was never made has none."""
        made: socket.socket | None = getattr(self, "_socket", None)
        if made is not None:
            made.close()

    def _leave_to_parent(self) -> None:
        self._forked = True
        # Its number stays taken: what is left in the buffer must not go to another file.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self._socket.fileno(), inheritable=False)
        os.close(null)
        self.relay.forget()


class _Stream:
    """What frames are written to, each whole: C code that other threads can't come between.

    A buffer takes a frame as one step, and keeps what an exception of a signal handler has kept
    from being sent.
    """

    def __init__(self, number: int) -> None:
        raw = io.FileIO(number, "w", closefd=False)
        self._buffer = io.BufferedWriter(raw, _HEADER.size + _LONGEST)

    def put(self, data: bytes | memoryview) -> None:
        """Send bytes, now or with those that come next."""
        try:
            self._buffer.write(data)
            self._buffer.flush()
        except RuntimeError as error:
            if not str(error).startswith("reentrant call"):
                # A signal handler's own.
                raise
            raise BeamError(
                "a signal handler asked the Beam for something in the middle of another request "
                "of the same thread; have it take note, and ask later"
            ) from error
        except (BrokenPipeError, ConnectionResetError):
            # It has met the end: the reader does, too, and tells everyone.
            return


def _told(_size: int, _pieces: Pieces, sent: SimpleQueue[None]) -> None:
    sent.put(None)


_LASTING = frozenset({driver_frames.OUTPUTS, driver_frames.MORE})
_LAST = frozenset({driver_frames.DONE, worker.VIEW_REPLY})


def _sockets() -> tuple[socket.socket, socket.socket]:
    # Where the program has closed its standard streams, a new socket has their numbers, and BEAM
    # would take it for one of them.
    pair = socket.socketpair()
    with pair[0], pair[1]:
        above = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 3) for one in pair]
    ours, theirs = (socket.socket(fileno=number) for number in above)
    return ours, theirs


def _how(status: int | None, fault: str) -> str:
    if status is None:
        return fault
    if status < 0:
        return f"BEAM was killed by signal {-status}"
    return f"BEAM ended by itself, with exit status {status}"


class _OfOurThreads:
    """Matches the warning of a fork beside threads, where all of these are Slither's.

    A child takes no lock of theirs: it closes its end of the socket, and asks for nothing.
    """

    def match(self, text: str) -> bool:
        """Tell whether nobody else has threads."""
        others = [one for one in threading.enumerate() if one is not threading.current_thread()]
        return "multi-threaded" in text and all(one.name in _THREADS for one in others)


_THREADS = {"slither-writer", "slither-reader", "slither-relay", "slither-beam-output"}
_no_warning: Any = ("ignore", _OfOurThreads(), DeprecationWarning, None, 0)


def _quiet_forks() -> None:
    # Python 3.12 and newer warn of each fork beside a thread.
    filters: Any = warnings.filters
    if _no_warning not in filters:
        filters.insert(0, _no_warning)
        # What was decided before is looked at anew; newer Pythons do so by themselves.
        getattr(warnings, "_filters_mutated", lambda: None)()


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork() -> None:
    # A child that kept the socket open would keep BEAM from seeing the end of its driver.
    for connection in list(_connections):
        connection._leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
