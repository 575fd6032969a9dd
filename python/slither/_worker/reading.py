"""Whose turn it is to read: one thread of a worker reads for all, and the others wait for it.

Whatever thread waits for BEAM runs this: the main thread for calls, handlers' threads for
answers, and the watcher. :mod:`slither._worker.connection` makes the reader, and sorts what it
finds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from slither._errors import DecodeError, ProtocolError, SlitherError
from slither._io.port import Port
from slither._types import Payload
from slither._wire import frames
from slither._worker import current, signals

Reply = tuple[int, int, Payload]
"""The id, the status and the value of a view reply."""


class Sorter(Protocol):
    """Takes what was read, in the thread that has read it."""

    def keep(self, reply: Reply) -> None:
        """Take a reply that another thread may wait for."""

    def take(self, body: bytes | bytearray) -> None:
        """Take any other frame."""

    def refuse(self, body: bytes | bytearray, error: SlitherError) -> None:
        """Take a frame that is none, or that the sorter has refused."""


class Reader:
    """The turn to read a port."""

    def __init__(self, port: Port, sorter: Sorter) -> None:
        self._port = port
        self._sorter = sorter
        self._turn = threading.Lock()
        """Whoever holds it reads."""
        self._waiters = 0
        self.changed = threading.Condition()
        """Held while something changes that other threads may wait for."""
        self.ended = False
        """Whether no more frames are to come."""

    def take_turn(self) -> bool:
        """Take the turn, if it is free: :meth:`give_turn` is to follow."""
        return self._turn.acquire(blocking=False)

    def give_turn(self) -> None:
        """Give the turn back, and wake those who wait for it."""
        self._turn.release()
        if self._waiters:
            self.tell()

    def tell(self) -> None:
        """Have those who wait look again."""
        if self._waiters:
            with self.changed:
                self.changed.notify_all()

    def wait(self, ready: Callable[[], bool]) -> None:
        """Read until ``ready`` or the end; where another thread reads, wait for what it finds."""
        with self.changed:
            self._waiters += 1
            try:
                while True:
                    if ready() or self.ended:
                        return
                    # This thread counts as a waiter before it tries, so that the thread that
                    # gives the turn back wakes it.
                    if self.take_turn():
                        break
                    self.changed.wait()
            finally:
                self._waiters -= 1
        try:
            while not (ready() or self.ended):
                signals.while_waiting(self._port.wait_for_input)
                self.read()
        finally:
            self.give_turn()

    def read_what_is_there(self, enough: Callable[[], bool]) -> None:
        """Read frames that have come until there are ``enough``, unless another thread reads."""
        while not (self.ended or enough()) and self.take_turn():
            try:
                if not self._port.has_input():
                    return
                self.read()
            finally:
                self.give_turn()

    def read(self, identity: int = 0) -> frames.Answer | None:
        """Read one frame, in turn: return the reply to ``identity``, and have all else sorted."""
        body: bytes | bytearray = b""
        try:
            body = self._port.read_body()
            reply = frames.parse_reply(body, current.codec)
            if reply is None:
                self._sorter.take(body)
            elif reply[0] == identity:
                return reply[1:]
            else:
                self._sorter.keep(reply)
        except (DecodeError, ProtocolError) as error:
            self._sorter.refuse(body, error)
        except (EOFError, OSError):
            self.ended = True
        return None
