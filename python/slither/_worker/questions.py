"""What a worker's threads ask BEAM, and the answers: views, and operations on tables.

The thread that asks runs this, and most often reads its own answer.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque

from slither._errors import SlitherError
from slither._io.port import Port
from slither._wire import frames
from slither._wire.build import Pieces
from slither._worker import signals
from slither._worker.patience import Patience
from slither._worker.reading import Reader, Reply


class Questions:
    """Questions that are out, by their ids."""

    def __init__(self, port: Port, reader: Reader) -> None:
        self._port = port
        self._reader = reader
        self._patience = Patience()
        self._waiting: dict[int, frames.Answer | None] = {}
        # The threads that are in the middle of a question. The garbage collector may run a
        # finaliser there that asks another.
        self._asking: set[int] = set()
        self._later: deque[Pieces] = deque()
        self.new_id = itertools.count(1).__next__
        """Returns a number that no other question has."""

    def ask(self, identity: int, pieces: Pieces) -> frames.Answer | None:
        """Send a question and wait for its answer, None at the end of the connection."""
        me = threading.get_ident()
        if me in self._asking:
            raise SlitherError(
                "a finaliser asked BEAM for something while the garbage collector ran it in the "
                "middle of another question of the same thread; ask from the handler's own code"
            )
        self._asking.add(me)
        try:
            self.send_later()
            # Take the turn to read before the question goes out. Then no other thread can read
            # its answer, and this thread reads it without being woken.
            if self._reader.take_turn():
                return self._read_own(identity, pieces)
            return self._wait(identity, pieces)
        finally:
            self._asking.discard(me)

    def tell(self, pieces: Pieces) -> None:
        """Have a question sent before what is sent next: nobody waits for its answer."""
        self._later.append(pieces)

    def send_later(self) -> None:
        """Send what :meth:`tell` was given."""
        while self._later:
            self._port.write(*self._later.popleft())

    def keep(self, reply: Reply) -> None:
        """Take an answer that another thread has read."""
        with self._reader.changed:
            # The thread that asked may have given up, if a signal
            # handler raised there. That is no fault of BEAM's.
            if reply[0] in self._waiting:
                self._waiting[reply[0]] = reply[1:]
                self._reader.changed.notify_all()

    def _read_own(self, identity: int, pieces: Pieces) -> frames.Answer | None:
        port, reader = self._port, self._reader
        try:
            began = time.perf_counter_ns()
            port.write(*pieces)
            if self._patience.looks:
                port.look_for_input()
            answer = None
            while answer is None and not reader.ended:
                signals.while_waiting(port.wait_for_input)
                answer = reader.read(identity)
            self._patience.took(time.perf_counter_ns() - began)
            return answer
        finally:
            reader.give_turn()

    def _wait(self, identity: int, pieces: Pieces) -> frames.Answer | None:
        with self._reader.changed:
            self._waiting[identity] = None
        try:
            self._port.write(*pieces)
            self._reader.wait(lambda: self._waiting[identity] is not None)
            return self._waiting[identity]
        finally:
            with self._reader.changed:
                del self._waiting[identity]
