"""Decides how large the batches of a map are, and how many may be out.

Pure; a run calls it in the thread that asks for results.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# Bytes of items that may be out, beside the last batch, where nobody says how many.
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

    def __init__(
        self, size: int | None, most: int, workers: int, ahead: int | None = None
    ) -> None:
        """Take a batch's size, how many batches may be out, and how many can run at once.

        A size of None begins with one item, so that a few slow items go to all workers; BEAM,
        which knows how long handlers take, says what to go on with. ``ahead`` bounds the bytes of
        what is out and of the results that will come of it, as those before had them.
        """
        self._finds = size is None
        self._grows = size is None
        self._mark = 0
        self._size = self._whole = size or 1
        self._most = most
        self._workers = workers
        self._out: deque[_Batch] = deque()
        self._bytes = 0
        self._ahead = ahead
        # Bytes of an item, and of the result of one, as far as they are known.
        self._of_item = 0.0
        self._of_result: float | None = None
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
            self._size = self._fitting(size)

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
        self._of_item = _seen(self._of_item, size / count)

    def came(self, count: int, size: int = 0) -> None:
        """Note that so many items are answered, with results of so many bytes."""
        self.received += count
        self._of_result = _seen(self._of_result or 0.0, size / max(count, 1))
        if self._finds:
            self._size = self._fitting(self._size)
        if self._grows and self.received > self._mark:
            # A batch of the size that was found last has not made it larger.
            self._grows = False
        while self._out and self._out[0].sent <= self.received:
            self._bytes -= self._out.popleft().size

    def _fitting(self, size: int) -> int:
        """Return the size of batches of which each worker can have one within the bound."""
        each = self._each()
        if self._ahead is None or not each:
            return size
        return max(1, min(size, int(self._ahead / each / self._workers)))

    def _each(self) -> float:
        return self._of_item + (self._of_result or 0.0)

    def _is_ahead(self, ahead: int) -> bool:
        """Tell whether another batch would be beyond the bound; one by itself may be."""
        if not self._out:
            return False
        if self._of_result is None and len(self._out) >= self._workers:
            # Until one is there, nobody knows how large results are.
            return True
        results = (self.sent - self.received) * (self._of_result or 0.0)
        return self._bytes + results + self._size * self._each() > ahead

    def _full(self) -> bool:
        if self._ahead is None and self._bytes >= MOST_BYTES:
            return True
        if self._ahead is not None and self._is_ahead(self._ahead):
            return True
        if self._finds:
            # While the size grows, batches behind one for each worker would be small for nothing.
            return len(self._out) >= (self._workers if self._grows else self._most)
        return self.sent - self.received + self._size > self._size * self._most


def _seen(known: float, now: float) -> float:
    """Return what to expect of the next: what is large is known at once, and forgotten slowly."""
    return max(now, (known + now) / 2)
