"""The connection to BEAM, which no exception that comes between two steps can break.

The program's code may be interrupted between any two steps: by a Ctrl-C, by another signal
handler that raises, or by the garbage collector, which runs finalisers at any point. So a thread
of the program never holds a lock of ours, and never leaves half a change for others to see. It
only notes who wants an answer, hands over a whole frame or order, and takes a whole answer out
of a queue. Each of these is one step of C code. Answers are matched by id, never by counting.

- The sending thread writes a frame in one step of C code, whole or not at all
  (:mod:`slither._driver.channel`). Long frames, and work that must not wait (the closes of
  finalisers, calls that wait for room), go to the *writer*, a thread that takes orders in turn.
- The *reader* sorts frames by the id that each carries, and decodes no values.
- The *relay* runs code of the user's: done callbacks, and whatever shows logs and prints. The
  writer and the reader never wait for it.

Signal handlers run only in the main thread, which is none of these three. A finaliser may run in
any of them: its requests are queued, and those that it would have to wait for are refused.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from queue import SimpleQueue

from slither._driver import forks, launch
from slither._driver.channel import LONGEST, Channel, Pieces, header
from slither._driver.errors_in import to_error
from slither._driver.reader import Box, Reader
from slither._driver.relay import Relay
from slither._driver.writer import Writer
from slither._errors import BeamClosed, BeamDied, BeamError, ProtocolError
from slither._types import Payload
from slither._version import MAX_FRAME, PROTOCOL_VERSION
from slither._wire import frames
from slither._wire.build import frame, table_call
from slither._wire.codec import PLAIN
from slither._wire.objects import Objects
from slither._words import said

# Seconds that BEAM may take to end by itself after it has closed its side.
_STATUS_WAIT = 2.0
# The writer kills a BEAM that does not end within its time. If the writer has not done so
# after this many seconds more, the closing thread does.
_SLACK = 1.0


class Connection:
    """Frames to and from BEAM. Every method is safe from any thread, and may be interrupted."""

    def __init__(self, settings: dict[str, Payload], log: Callable[[frames.Log], None]) -> None:
        self.death: BeamError | None = None
        """Why BEAM is no more, or takes no more."""
        self.objects: Objects | None = None
        """What opens objects by value, where the Beam takes them."""
        self.codec = PLAIN
        """What the program's values go by."""
        self.piped = PLAIN
        """What the values of its pipes go by."""
        self.facts: dict[str, Payload] = {}
        """What BEAM said about itself."""
        self.settled: dict[str, Payload] = {}
        """What came of the settings."""
        self.relay = Relay(log)
        self.new_id = itertools.count(1).__next__
        """Returns a number that no other run or question has."""
        self.on_end: Callable[[], None] = lambda: None
        """What the writer calls when nothing more will be answered."""
        self.finished = threading.Event()
        """Set when BEAM and both threads are gone."""
        self._boxes: dict[int, Box] = {}
        self._greetings: SimpleQueue[frames.Frame | None] = SimpleQueue()
        self._forked = False
        self._shares = settings.get("capture_failures") is None
        self._channel = Channel()
        with self._channel.theirs as theirs:
            self.child = launch.start(theirs.fileno())
        self.writer = Writer(self._channel, self.child.kill, self._all_ended)
        self.writer.failed = self._order_failed
        self._reader = Reader(self._channel, self._boxes, self._take, self._ended)
        self._ours = (self.writer.thread, self._reader.thread)
        forks.know(self)
        self.relay.start()
        for thread in self._ours:
            thread.start()
        try:
            self._greet(settings)
        except BaseException:
            self.kill()
            raise

    def _greet(self, settings: dict[str, Payload]) -> None:
        hello = self._greeting()
        if isinstance(hello, frames.Hello):
            self.facts = {**hello.facts, "protocol": hello.version}
        self.send(frame(frames.WELCOME, PROTOCOL_VERSION, settings))
        ready = self._greeting()
        if isinstance(ready, frames.Ready):
            self.settled = ready.facts

    def _greeting(self) -> frames.Frame | None:
        got = self._greetings.get()
        if isinstance(got, frames.Failed):
            raise _refused(got.error)
        if got is None:
            self.check()
        return got

    def blobs(self) -> str | None:
        """Return the folder in shared memory for what this BEAM and its workers share."""
        found: str | None = self.settled.get("blobs")
        return found

    def shared(self) -> str | None:
        """Return the same where large values go by it; what is captured must have them itself."""
        return self.blobs() if self._shares else None

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
        if size <= LONGEST:
            self._channel.put(b"".join((header(size), *pieces)))
        else:
            self.refuse_ourselves()
            sent: SimpleQueue[None] = SimpleQueue()
            self.writer.order(
                self._send_long, sent, pieces, refuse=lambda sent, _pieces: sent.put(None)
            )
            sent.get()
        # This thread notes its box before it checks the connection, and the writer ends the
        # connection before it looks for boxes. So one of the two finds the other.
        self.check()

    def start(self, identity: int, box: Box, kind: str, spec: Payload) -> None:
        """Begin a run whose frames go to ``box``."""
        self.refuse_ourselves()
        self.send(frame(frames.START, identity, kind, spec), identity=identity, box=box)

    def cancel(self, identity: int) -> None:
        """Give up a run; it never waits and nothing is raised, whoever calls it."""
        if not self._forked:
            self.writer.order(self._cancel_now, identity)

    def request(self, name: str, arguments: dict[str, Payload]) -> Payload:
        """Ask BEAM for something by name, and return its answer or raise its error."""
        identity = self.new_id()
        answer = self._ask(identity, frame(frames.REQUEST, identity, name, arguments))
        return _value(answer, self.objects)

    def answer(self, body: bytes | None) -> Payload:
        """Return the answer to a request of which the body has come, or raise its error."""
        return _value(self._answered(body), self.objects)

    def ask_table(
        self, call: int, table: str, op: str, arguments: tuple[Payload, ...]
    ) -> frames.Answer:
        """Run one operation on a table, as a worker's ``Link.ask_table`` does."""
        identity = self.new_id()
        return self._ask(
            identity, *table_call(identity, call, table, op, arguments, codec=self.codec)
        )

    def tell_table(self, table: str, op: str, arguments: tuple[Payload, ...]) -> None:
        """Have an operation run whose answer nobody waits for; it may be a finaliser's."""
        if not self._forked:
            pieces = table_call(self.new_id(), 0, table, op, arguments, codec=self.codec)
            self.writer.order(self._tell_now, pieces)

    def _ask(self, identity: int, *pieces: bytes | memoryview) -> frames.Answer:
        self.refuse_ourselves()
        box: SimpleQueue[bytes | None] = SimpleQueue()
        self.send(*pieces, identity=identity, box=box)
        return self._answered(box.get())

    def _answered(self, body: bytes | None) -> frames.Answer:
        if body is None:
            raise self.gone()
        reply = frames.parse_reply(body, self.codec)
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
        return threading.current_thread() in self._ours

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
        if not self._forked and not self.writer.stopped:
            self.writer.order(self._close_now, timeout)

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

    ## In the writer

    def write(self, *pieces: bytes | memoryview) -> None:
        """Send a frame, a small one together with others."""
        self.writer.write(pieces, sum(map(len, pieces)))

    def route(self, identity: int, box: Box) -> None:
        """Note who gets what comes with an id."""
        self._boxes[identity] = box

    def _send_long(self, sent: SimpleQueue[None], pieces: Pieces) -> None:
        try:
            if self.death is None:
                self.write(*pieces)
                self.writer.flush()
        finally:
            sent.put(None)

    def _tell_now(self, pieces: Pieces) -> None:
        if self.death is None:
            self.write(*pieces)

    def _cancel_now(self, identity: int) -> None:
        if self._boxes.pop(identity, None) is not None and self.death is None:
            self.write(frame(frames.CANCEL, identity))

    def _close_now(self, timeout: float) -> None:
        first = self.death is None
        self._end_with(BeamClosed("the Beam is closed"))
        if first:
            self.write(frame(frames.SHUTDOWN, int(timeout * 1_000)))
            self.writer.kill_in(timeout)

    def _ended_now(self, error: BeamDied) -> None:
        self._end_with(error)
        self._greetings.put(None)
        self.writer.stop()

    def _end_with(self, error: BeamError) -> None:
        if self.death is None:
            self.death = error
        for identity in list(self._boxes):
            box = self._boxes.pop(identity, None)
            if box is not None:
                box.put(None)
        self.on_end()

    def _order_failed(self, error: Exception) -> None:
        what = f"an order of the connection to BEAM has failed: {said(error)}"
        self.relay.say(frames.Log(0, "error", "slither", what, 0))

    def _all_ended(self) -> None:
        self.relay.stop()
        self.finished.set()

    ## In the reader

    def _take(self, body: bytes) -> None:
        got = frames.parse_any(body)
        if isinstance(got, frames.Log):
            self.relay.show(got)
        elif isinstance(got, frames.Hello | frames.Ready | frames.Failed):
            self._greetings.put(got)
        elif not isinstance(got, frames.Pong):
            raise ProtocolError(f"a driver expects no {type(got).__name__.lower()} frame")

    def _ended(self, fault: str) -> None:
        status = self.child.wait(_STATUS_WAIT)
        if status is None:
            self.child.kill()
        error = BeamDied(_how(status, fault), status, self.child.last_words()[-20:])
        self.writer.order(self._ended_now, error)

    ## In a forked child

    def leave_to_parent(self) -> None:
        """Give it up: all that is asked for here is refused from now on."""
        self._forked = True
        self._channel.leave_to_parent()
        self.relay.forget()


def _refused(error: dict[str, Payload]) -> Exception:
    kind, message = error["kind"], error["message"]
    if kind == "unknown_option":
        return TypeError(message)
    if kind in ("invalid_option", "invalid_options", "missing_option"):
        return ValueError(message)
    if kind == "dashboard_unavailable":
        return BeamError(str(message))
    return BeamDied(f"BEAM could not start: {message}")


def _value(answer: frames.Answer, objects: Objects | None) -> Payload:
    status, value = answer
    if status == 0:
        return value
    raise to_error(value, objects)


def _how(status: int | None, fault: str) -> str:
    if status is None:
        return fault
    if status < 0:
        return f"BEAM was killed by signal {-status}"
    return f"BEAM ended by itself, with exit status {status}"
