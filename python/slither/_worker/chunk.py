"""What one call draws of the values of a cursor: they go together, but none waits for long.

The main thread puts values in, and the thread ``slither-early`` sends those that have waited long
enough while the handler is at work on the next. It starts when it is first needed, and rests
while no call draws.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from slither._errors import ProtocolError
from slither._wire import build
from slither._wire.build import Pieces
from slither._wire.codec import encode
from slither._worker import signals
from slither._worker.results import HEAD, encode_one

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._worker.ports import Line

# A chunk is full with so many values and ends, or so many bytes, or once its first value has
# waited for so long.
_MOST = 1_000
_BYTES = 262_144
_WAIT_NS = 20_000_000
# Seconds between two looks of the thread at what waits.
_LOOK = 0.01
# After so many looks without a call that draws, the thread rests.
_IDLE = 50
# Bytes that an entry takes beside its values, and an error beside itself, at most.
_ENTRY = 24


class Chunk:
    """Entries for one call: the index of an item, whether that has ended, and values of it."""

    def __init__(self, call: int, max_frame: int, line: Line | None) -> None:
        """Take the call's id; without a line nothing is sent early."""
        self.id = call
        self.full = False
        """Whether the call is to be answered with what there is."""
        self.encode_ns = 0
        self._limit = max_frame - HEAD
        self._max_frame = max_frame
        self._line = line
        self._lock = threading.Lock()
        self._entries: list[tuple[int, bool, list[bytes]]] = []
        self._errors: dict[int, bytes] = {}
        self._count = 0
        self._bytes = 0
        self._first = 0
        self._asked = 0
        self._last = -1
        self._sent = 0

    def begin(self, last: int) -> None:
        """Note that the first value is asked for; ``last`` is the index of the last item."""
        self._last = last
        self._asked = time.perf_counter_ns()

    def encode(self, value: Payload) -> tuple[bytes, bytes | None]:
        """Encode a value, or the error in its place."""
        began = time.perf_counter_ns()
        encoded = encode_one(value, self._max_frame - 2 * _ENTRY)
        self.encode_ns += time.perf_counter_ns() - began
        return encoded

    @signals.whole
    def add(self, index: int, body: bytes | None, ended: bool, error: bytes | None) -> bool:
        """Take the next value of an item, or its end; False where this frame has no room left."""
        now = time.perf_counter_ns()
        size = 2 * _ENTRY + len(body or b"") + len(error or b"")
        with self._lock:
            entries = self._entries
            if entries and self._bytes + size > self._limit:
                self.full = True
                return False
            if entries and entries[-1][0] == index:
                values = entries[-1][2]
                entries[-1] = (index, ended, values)
            else:
                values = []
                entries.append((index, ended, values))
            if body is not None:
                values.append(body)
            if error is not None:
                self._errors[len(entries) - 1] = error
            self._count += 1
            self._bytes += size
            if self._count == 1:
                self._first = now
            # The next value is expected to take as long as this one has.
            late = 2 * now - self._first - self._asked >= _WAIT_NS
            enough = self._count >= _MOST or self._bytes >= _BYTES
            over = ended and index == self._last
            self.full = late or over or enough or self._sent > 0
            self._asked = now
        return True

    def look(self) -> None:
        """Send what waits, if it has waited long enough; only once, as the call ends soon."""
        if time.perf_counter_ns() - self._first >= _WAIT_NS:
            self.flush(False)

    def flush(self, last: bool = True) -> None:
        """Send what waits before the answer; ``last`` says that no more is to come."""
        with self._lock:
            # What fills a chunk is left to the answer, which may have nothing else.
            wanted = last or not (self.full or self._sent)
            if wanted and self._entries and self._line is not None:
                head = build.part_head(self.id, self._sent, len(self._entries))
                self._sent += len(self._entries)
                self._line.send((b"".join((head, *self._body())),))
                self._entries, self._errors, self._count, self._bytes = [], {}, 0, 0

    def answer(self, decode_us: int, handler_us: int) -> Pieces:
        """Build the frame that answers the call."""
        with self._lock:
            self._line = None
            head = build.result_head(self.id, len(self._entries))
            timing = build.timing(decode_us, handler_us, self.encode_ns // 1_000)
            return (b"".join((head, *self._body(), timing)),)

    def close(self) -> None:
        """Send nothing from now on."""
        with self._lock:
            self._line = None

    def _body(self) -> Iterator[bytes]:
        for index, ended, values in self._entries:
            yield b"\x93" + encode(index) + (b"\xc3" if ended else b"\xc2")
            yield build.array_head(len(values))
            yield from values
        yield build.errors(self._errors)


_changed = threading.Condition()
_drawn: Chunk | None = None
_resting = False
_thread: threading.Thread | None = None


@contextmanager
def early(chunk: Chunk) -> Iterator[None]:
    """Have what waits in a chunk sent while the block runs."""
    global _drawn, _thread
    _drawn = chunk
    if _thread is None:
        _thread = threading.Thread(target=_run, name="slither-early", daemon=True)
        _thread.start()
    elif _resting:
        with _changed:
            _changed.notify()
    try:
        yield
    finally:
        _drawn = None


def _run() -> None:
    global _resting
    idle = 0
    while True:
        # To wake this thread costs a call more than it does, so it rests only after a while.
        if idle > _IDLE:
            with _changed:
                # Said before the look, so that one of the two sees the other.
                _resting = True
                while _drawn is None:
                    _changed.wait()
                _resting = False
        time.sleep(_LOOK)
        chunk = _drawn
        idle = idle + 1 if chunk is None else 0
        if chunk is not None:
            # The main thread notices by itself when BEAM is gone.
            with suppress(OSError, ProtocolError):
                chunk.look()
