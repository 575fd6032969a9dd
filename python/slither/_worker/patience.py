"""How to wait for an answer that is due at once: asleep, or looking for it.

A decision without effects: the threads that wait for calls and answers ask it, and tell it how
long that took.
"""

from __future__ import annotations

# In ns: an answer that takes longer is not worth looking for.
_LONG = 200_000
_WEIGHT = 8
_TRY_OTHER = 32


class Patience:
    """Takes the way that has been the quicker one of late, and tries the other now and then.

    To wake a sleeper costs 3 µs where the other cores are busy, and ten times that where one has
    to be woken with it; to look costs a core some of its time. Which is quicker changes with
    what else the machine does, and nothing tells but the clock.
    """

    def __init__(self) -> None:
        self.looks = False
        """Whether to look for the next answer."""
        self._times = [0, 0]
        self._asked = 0

    def took(self, elapsed: int) -> None:
        """Note how long an answer took in the way that :attr:`looks` said, in ns."""
        times, looked = self._times, self.looks
        times[looked] += (min(elapsed, _LONG) - times[looked]) // _WEIGHT
        self._asked += 1
        quicker = 4 * times[True] < 3 * times[False]
        self.looks = quicker if self._asked % _TRY_OTHER else not quicker
