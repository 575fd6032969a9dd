"""Decides how large the batches of a map are, and how many may be out.

Pure; a run calls it in the thread that asks for results, and passes in the time.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# Bytes that may be out, beside the last batch.
MOST_BYTES = 67_108_864
# If the program gives no batch size: the largest size, the seconds below which the next batch
# is twice as large, and those from which on it is half as large.
_LARGEST = 64
_QUICK, _SLOW = 0.02, 0.2


class _Batch(NamedTuple):
    """A batch that is out: how many items had been sent with it, its bytes, and when it went."""

    sent: int
    size: int
    began: float


class Batching:
    """The batches of one map run."""

    def __init__(self, size: int | None, most: int) -> None:
        """Take a batch's size, and how many may be out.

        A size of None begins with one item, so that a few slow items go to all workers, and grows
        while batches come back at once.
        """
        self._grows = size is None
        self._size = size or 1
        self._most = most
        self._out: deque[_Batch] = deque()
        self._bytes = 0
        self.sent = 0
        """Items sent."""
        self.received = 0
        """Items answered."""

    def room(self) -> int:
        """Return a batch's size while there is room for one, else 0."""
        if self._bytes >= MOST_BYTES:
            return 0
        if self._grows:
            full = len(self._out) >= self._most
        else:
            full = self.sent - self.received + self._size > self._size * self._most
        return 0 if full else self._size

    def went(self, count: int, size: int, now: float) -> None:
        """Note that a batch of so many items and bytes was sent."""
        self.sent += count
        self._out.append(_Batch(self.sent, size, now))
        self._bytes += size

    def came(self, count: int, now: float) -> None:
        """Note that so many items are answered, and fit the next batch to the time they took."""
        self.received += count
        while self._out and self._out[0].sent <= self.received:
            batch = self._out.popleft()
            self._bytes -= batch.size
            if self._grows:
                self._fit(now - batch.began)

    def _fit(self, took: float) -> None:
        if took < _QUICK:
            self._size = min(2 * self._size, _LARGEST)
        elif took > _SLOW:
            self._size = max(self._size // 2, 1)
