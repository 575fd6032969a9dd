"""The connection to BEAM: whoever waits reads, and sorts what comes for all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from slither import _frames as worker
from slither._answer import frame
from slither._driver import frames, launch
from slither._driver.channel import Channel
from slither._driver.faults import to_exception
from slither._errors import BeamDied, BeamError, SlitherError
from slither._link import table_call
from slither._version import PROTOCOL_VERSION

if TYPE_CHECKING:
    from slither._types import Payload

_STATUS_WAIT = 2.0
# Seconds that the thread that reads for futures reads on after the last of them.
_LINGER = 0.05
_OF_RUNS = (frames.Outputs, frames.Done, frames.More)


class Receiver(Protocol):
    """Takes the frames of one run, in the thread that reads; it must not wait."""

    def receive(self, got: frames.Outputs | frames.Done | frames.More) -> None:
        """Take one frame."""

    def died(self, error: BeamDied) -> None:
        """Learn that no more frames will come."""


class Link:
    """Frames to and from BEAM. Every method is safe from any thread.

    There is no thread that reads all the time: it would compete with the program's own for the
    interpreter. Threads that wait read in turns; :meth:`keep_reading` has one of its own read
    while there are futures that somebody may wait for elsewhere.
    """

    def __init__(self, settings: dict[str, Payload], log: Callable[[worker.Log], None]) -> None:
        """Start BEAM and shake hands."""
        self._log = log
        self._changed = threading.Condition()
        self._reading = False
        self._waiters = 0
        self._replies: dict[int, worker.ViewReply | None] = {}
        self._receivers: dict[int, Receiver] = {}
        self._ids = 0
        self._keepers = 0
        self._kept = False
        self._forked = False
        self._ready = False
        self._ended = False
        self.death: BeamDied | None = None
        """Why BEAM is no more."""
        self.facts: dict[str, Payload] = {}
        """What BEAM said about itself."""
        self._spawn()
        try:
            self._greet(settings)
        except BaseException:
            self.kill()
            raise

    def _spawn(self) -> None:
        ours, theirs = _sockets()
        try:
            self.child = launch.start(theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._channel = Channel(ours, ours)
        _links.add(self)

    def _greet(self, settings: dict[str, Payload]) -> None:
        self._pump(lambda: bool(self.facts))
        self._check()
        self.send(frame(worker.WELCOME, PROTOCOL_VERSION, settings))
        self._pump(lambda: self._ready)
        self._check()

    ## Sending

    def send(self, *pieces: bytes | memoryview) -> None:
        """Send one frame, given in pieces; :class:`slither.BeamDied` when BEAM is gone."""
        self._check()
        try:
            self._channel.write(*pieces)
        except OSError:
            self._end()
            self._check()
            raise

    def new_id(self) -> int:
        """Return a number that no other run or question has."""
        with self._changed:
            self._ids += 1
            return self._ids

    def start(self, identity: int, receiver: Receiver, kind: str, spec: Payload) -> None:
        """Begin a run whose frames go to ``receiver``."""
        with self._changed:
            self._receivers[identity] = receiver
        self.send(frame(frames.START, identity, kind, spec))

    def forget(self, identity: int) -> None:
        """Drop what else comes for a run."""
        with self._changed:
            self._receivers.pop(identity, None)

    def cancel(self, identity: int) -> None:
        """Give up a run that goes on; nothing is raised when BEAM is gone."""
        self.forget(identity)
        if self.death is None:
            try:
                self.send(frame(worker.CANCEL, identity))
            except SlitherError:
                return

    ## Questions

    def request(self, name: str, arguments: dict[str, Payload]) -> Payload:
        """Ask BEAM for something by name, and return its answer or raise its error."""
        reply = self._ask(lambda identity: (frame(frames.REQUEST, identity, name, arguments),))
        if reply.status == 0:
            return reply.value
        raise to_exception(reply.value)

    def ask_table(
        self, call: int, table: str, op: str, arguments: tuple[Payload, ...]
    ) -> worker.Answer:
        """Run one operation on a table, as :meth:`slither._link.Link.ask_table` does."""
        reply = self._ask(lambda identity: table_call(identity, call, table, op, arguments))
        return reply.status, reply.value

    def _ask(self, pieces: Callable[[int], tuple[bytes | memoryview, ...]]) -> worker.ViewReply:
        identity = self.new_id()
        with self._changed:
            self._replies[identity] = None
        try:
            self.send(*pieces(identity))
            self._pump(lambda: self._replies[identity] is not None)
            reply = self._replies[identity]
        finally:
            with self._changed:
                del self._replies[identity]
        if reply is None:
            self._check()
            raise BeamError("BEAM gave no answer")
        return reply

    ## Reading

    def wait(self, ready: Callable[[], bool]) -> None:
        """Read until ``ready``; :class:`slither.BeamDied` when that can't come any more."""
        self._pump(ready)
        if not ready():
            self._check()

    def poll(self) -> None:
        """Read what is there, without waiting."""
        with self._changed:
            if self._reading or self.death is not None:
                return
            self._reading = True
        try:
            while self._take_one(0):
                pass
        finally:
            self._stop_reading()

    def keep_reading(self) -> None:
        """Have a thread read until as many calls of :meth:`let_be` have followed."""
        self._check_owner()
        with self._changed:
            self._keepers += 1
            kept, self._kept = self._kept, True
        if not kept:
            threading.Thread(target=self._keep, name="slither-reader", daemon=True).start()

    def let_be(self) -> None:
        """Take one call of :meth:`keep_reading` back."""
        with self._changed:
            self._keepers -= 1

    def _keep(self) -> None:
        # The next future is often near, and a new thread takes longer than a call.
        lingers = True
        while lingers:
            self._pump(lambda: self._keepers == 0)
            lingers = self._linger()

    def _linger(self) -> bool:
        """Read on for a moment, unless others want to; tell whether to go on."""
        with self._changed:
            free = not (self._reading or self._waiters or self.death is not None)
            if self._keepers == 0 and not free:
                self._kept = False
                return False
            if not free:
                return self.death is None
            self._reading = True
        try:
            came = self._take_one(_LINGER)
        finally:
            self._stop_reading()
        with self._changed:
            self._kept = came or self._keepers > 0
            return self._kept

    def _pump(self, ready: Callable[[], bool]) -> None:
        """Read until ``ready`` or the end; one thread reads, the others wait for it."""
        self._check_owner()
        with self._changed:
            while True:
                if ready() or self.death is not None:
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
            while not (ready() or self.death is not None):
                self._take_one(None)
        finally:
            self._stop_reading()

    def _stop_reading(self) -> None:
        with self._changed:
            self._reading = False
            if self._waiters:
                self._changed.notify_all()

    def _take_one(self, timeout: float | None) -> bool:
        try:
            return self._channel.read(self._take, timeout)
        except (EOFError, OSError):
            self._end()
            return False

    def _take(self, body: bytes) -> None:
        got = frames.parse(body)
        if isinstance(got, _OF_RUNS):
            with self._changed:
                done = type(got) is frames.Done
                take = self._receivers.pop if done else self._receivers.get
                receiver = take(got.id, None)
            # What has ended crossed this frame.
            if receiver is not None:
                receiver.receive(got)
        elif isinstance(got, worker.ViewReply):
            if got.id in self._replies:
                self._replies[got.id] = got
        elif isinstance(got, worker.Log):
            self._log(got)
        elif isinstance(got, worker.Hello):
            self.facts = {**got.facts, "protocol": got.version}
        elif isinstance(got, worker.Ready):
            self._ready = True
        elif isinstance(got, worker.Failed):
            self._end_with(BeamDied(f"BEAM could not start: {got.error['message']}"))
        with self._changed:
            if self._waiters:
                self._changed.notify_all()

    ## The end

    def close(self, timeout: float) -> None:
        """Let BEAM end in order, within ``timeout`` seconds; then kill it.

        A KeyboardInterrupt while it waits kills it at once.
        """
        if self._forked:
            return
        try:
            if self.death is None:
                with contextlib.suppress(OSError):
                    self._channel.write(frame(worker.SHUTDOWN, int(timeout * 1_000)))
                self._end_with(BeamDied("the Beam is closed"))
            self._drain(timeout)
        finally:
            self.kill()

    def _drain(self, timeout: float) -> None:
        # BEAM could not end while it waits for a full pipe.
        deadline = time.monotonic() + timeout
        while not self._ended and (left := deadline - time.monotonic()) > 0:
            with self._changed:
                if self._reading:
                    self._waiters += 1
                    self._changed.wait(left)
                    self._waiters -= 1
                    continue
                self._reading = True
            try:
                self._take_one(left)
            finally:
                self._stop_reading()
        self.child.wait(max(0.0, deadline - time.monotonic()))

    def kill(self) -> None:
        """End BEAM at once; its workers end with it."""
        if self._forked:
            return
        self.child.kill()
        self._end_with(BeamDied("the Beam is closed"))
        self._channel.close()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self.death is not None:
            return
        status = self.child.wait(_STATUS_WAIT)
        self._end_with(BeamDied(_how(status), status, self.child.last_words()[-20:]))

    def _end_with(self, error: BeamDied) -> None:
        with self._changed:
            if self.death is None:
                self.death = error
            receivers = list(self._receivers.values())
            self._receivers.clear()
            self._changed.notify_all()
        for receiver in receivers:
            receiver.died(self.death)

    def _check(self) -> None:
        self._check_owner()
        if self.death is not None:
            raise BeamDied(self.death.reason, self.death.status, self.death.log)

    def _check_owner(self) -> None:
        if self._forked:
            raise BeamError(
                "this Beam belongs to the process that started it, and this is a fork of that; "
                "start another one here"
            )

    def _leave_to_parent(self) -> None:
        self._forked = True
        # A thread that is not here may have held the lock.
        self._changed = threading.Condition()
        self._channel.forget()


def _sockets() -> tuple[int, int]:
    # Where the program has closed its standard streams, a new socket has their numbers, and BEAM
    # would take it for one of them.
    one, other = socket.socketpair()
    with one, other:
        above = fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 3)
        return above, fcntl.fcntl(other, fcntl.F_DUPFD_CLOEXEC, 3)


def _how(status: int | None) -> str:
    if status is None:
        return "BEAM closed the connection"
    if status < 0:
        return f"BEAM was killed by signal {-status}"
    return f"BEAM ended by itself, with exit status {status}"


_links: weakref.WeakSet[Link] = weakref.WeakSet()


def _after_fork() -> None:
    # A child that kept the socket open would keep BEAM from seeing the end of its driver.
    for link in list(_links):
        link._leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
