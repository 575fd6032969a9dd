"""Decides how large the batches of a map are, and how many may be out.

Pure; a run calls it in the thread that asks for results.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# Bytes that may be out, beside the last batch.
MOST_BYTES = 67_108_864
# Items of a batch whose size is found, at most.
_MOST_ITEMS = 1_000
# Where nothing more is to be had at once, no batch need be smaller than such a part of what
# takes the time of a batch: workers end within as small a part of the time of a batch.
_CRUMB = 25


class _Batch(NamedTuple):
    """A batch that is out: how many items had been sent with it, and its bytes."""

    sent: int
    size: int


class Batching:
    """The batches of one map run."""

    def __init__(self, size: int | None, most: int, workers: int) -> None:
        """Take a batch's size, how many batches may be out, and how many can run at once.

        A size of None begins with one item, so that a few slow items go to all workers; BEAM,
        which knows how long handlers take, says what to go on with.
        """
        self._finds = size is None
        self._grows = size is None
        self._mark = 0
        self._size = self._whole = size or 1
        self._most = most
        self._workers = workers
        self._out: deque[_Batch] = deque()
        self._bytes = 0
        self.sent = 0
        """Items sent."""
        self.received = 0
        """Items answered."""

    def found(self, size: int) -> None:
        """Learn how many items take the time of a batch: the next have so many, or the most."""
        if self._finds:
            self._whole, size = size, min(size, _MOST_ITEMS)
            if size >= 2 * self._size:
                self._grows, self._mark = True, self.sent
            self._size = size

    def room(self) -> int:
        """Return how many items to have at hand, 0 while there is no room for a batch."""
        if self._full():
            return 0
        return self._size * (self._workers + 1) if self._finds else self._size

    def next(self, at_hand: int, *, ended: bool, paused: bool) -> int:
        """Return the size of the next batch of so many items, 0 to wait for more of them.

        ``ended``: no more will come; ``paused``: none comes at once.
        """
        if not at_hand or self._full():
            return 0
        enough = self._size * self._workers if self._finds else self._size
        if at_hand >= enough:
            return self._size
        if not (ended or (paused and len(self._out) < self._workers)):
            return 0
        if not self._finds:
            return at_hand
        # No worker gets more than its share, unless that would not be worth a call.
        share = -(-at_hand // self._workers)
        return min(max(share, self._whole // _CRUMB), self._size, at_hand)

    def went(self, count: int, size: int) -> None:
        """Note that a batch of so many items and bytes was sent."""
        if not count:
            # Nothing of the batch could be sent, and no answer will come for it.
            return
        self.sent += count
        self._out.append(_Batch(self.sent, size))
        self._bytes += size

    def came(self, count: int) -> None:
        """Note that so many items are answered."""
        self.received += count
        if self._grows and self.received > self._mark:
            # A batch of the size that was found last has not made it larger.
            self._grows = False
        while self._out and self._out[0].sent <= self.received:
            self._bytes -= self._out.popleft().size

    def _full(self) -> bool:
        if self._bytes >= MOST_BYTES:
            return True
        if self._finds:
            # While the size grows, batches behind one for each worker would be small for nothing.
            return len(self._out) >= (self._workers if self._grows else self._most)
        return self.sent - self.received + self._size > self._size * self._most
