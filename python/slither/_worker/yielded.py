"""The results of a call whose handler yields them, sent as parts while BEAM takes them.

The main thread puts results in, the watcher's thread sends those that wait, and the thread that
reads passes on BEAM's credit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from slither._wire import build
from slither._wire.build import Pieces
from slither._wire.faults import describe
from slither._worker import forked, signals
from slither._worker.results import HEAD, encode_one

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._worker.ports import Line

# The next result goes out at once if BEAM has taken all earlier ones. Otherwise it waits until
# so many results, or so many bytes, can go together.
_TOGETHER = 8
_BYTES = 65_536


class TooManyError(Exception):
    """The handler yielded more results than there are items."""


class GoneError(Exception):
    """The call's caller waits no more."""


class Stream:
    """The results of one call: which were sent, and how far the handler may be ahead.

    A handler may be ahead of its consumer by as many results as it has credit for. The last
    result goes with the answer, so that the answer always decides something: a handler that
    raises after it, or yields once more, has failed the last item.
    """

    def __init__(
        self, call: int, count: int, max_frame: int, line: Line | None, eager: bool = False
    ) -> None:
        """Take the call's id and its count of items; without a line nothing is sent early.

        An ``eager`` stream sends each result before the handler goes on.
        """
        self.id = call
        self.encode_ns = 0
        self.waited_ns = 0
        self._count = count
        self._max_frame = max_frame
        self._line = line
        self._lock = threading.Lock()
        self._values: list[bytes] = []
        self._errors: dict[int, bytes] = {}
        self._bytes = 0
        self._yielded = 0
        self._sent = 0
        self._credit = count if line is None else line.ahead
        self._untaken = 0
        self._closed = line is None
        self._eager = eager

    @property
    def full(self) -> bool:
        """Whether the handler must wait for credit before it goes on."""
        return self._credit <= 0

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the results any more."""
        return self._line is not None and self._line.is_gone(self.id)

    def drain(self, generator: Generator[Payload, None, object]) -> None:
        """Take all that a generator yields, at the consumer's pace, and close it."""
        try:
            for value in generator:
                self.put(value)
                if self.full:
                    self._wait()
                if self.gone:
                    raise GoneError
        finally:
            generator.close()

    @signals.whole
    def put(self, value: Payload) -> None:
        """Take the next result; :class:`TooManyError` where no item is left for it."""
        forked.end()
        began = time.perf_counter_ns()
        if self._yielded == self._count:
            raise TooManyError
        body, error = encode_one(value, self._max_frame)
        size = len(body) + (0 if error is None else len(error) + 10)
        with self._lock:
            if self._bytes + size > self._max_frame - HEAD:
                self._send(len(self._values))
            self._values.append(body)
            self._bytes += size
            if error is not None:
                self._errors[self._yielded] = error
            self._yielded += 1
            ready = self._ready()
            if ready and (
                self._eager
                or self._untaken == 0
                or ready >= min(_TOGETHER, self._credit)
                or self._bytes >= _BYTES
            ):
                self._send(ready)
        self.encode_ns += time.perf_counter_ns() - began

    def allow(self, call: int, count: int) -> bool:
        """Take credit, if it is this call's: the consumer has taken so many results."""
        if call != self.id:
            return False
        with self._lock:
            self._credit += count
            self._untaken = max(0, self._untaken - count)
        return True

    def flush(self) -> None:
        """Send what waits, if the consumer has taken all that was sent."""
        with self._lock:
            ready = self._ready()
            if ready and self._untaken == 0:
                self._send(ready)

    def _ready(self) -> int:
        if self._closed:
            return 0
        waiting = len(self._values)
        return waiting - 1 if self._yielded == self._count else waiting

    def _send(self, count: int) -> None:
        if self._closed or self._line is None or count == 0:
            return
        self._line.send(self._pieces(count))
        self._values = self._values[count:]
        self._sent += count
        self._errors = {at: error for at, error in self._errors.items() if at >= self._sent}
        self._bytes = sum(map(len, (*self._values, *self._errors.values())))
        self._credit -= count
        self._untaken += count

    def _pieces(self, count: int) -> Pieces:
        errors = {at: e for at, e in self._errors.items() if at < self._sent + count}
        head = build.part_head(self.id, self._sent, count)
        return (b"".join((head, *self._values[:count], build.errors(errors))),)

    def _wait(self) -> None:
        began = time.perf_counter_ns()
        if self._line is not None:
            self._line.wait(lambda: not self.full or self.gone)
        self.waited_ns += time.perf_counter_ns() - began

    def answer(
        self, problem: dict[str, Payload] | None, decode_us: int, handler_us: int
    ) -> Pieces:
        """Build the frame that ends the call; ``problem`` fails all items that are left."""
        with self._lock:
            yielded = self._yielded
            if problem is None and yielded < self._count:
                message = f"the handler yielded {yielded} results for {self._count} items"
                problem = describe("wrong_length", message, expected=self._count, got=yielded)
            if problem is not None:
                # An error frame has no room for results,
                # so waiting ones go first, credit or not.
                if not self.gone:
                    self._send(self._ready())
                self._closed = True
                return (build.error(self.id, problem),)
            self._closed = True
            head = build.result_head(self.id, len(self._values))
            timing = build.timing(decode_us, handler_us, self.encode_ns // 1_000)
            return (b"".join((head, *self._values, build.errors(self._errors), timing)),)

    def too_many(self) -> dict[str, Payload]:
        """Build the error of a handler that yields on after the last item."""
        count = self._count
        message = f"the handler yielded more than {count} results for {count} items"
        return describe("wrong_length", message, expected=count, got=count + 1)

    def cancelled(self) -> dict[str, Payload]:
        """Build the error of a handler that was closed before its end."""
        return describe("cancelled", "nobody waits for the results any more")
