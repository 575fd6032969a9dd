"""Functions of maps that have a rate."""

from __future__ import annotations

import time

from slither.worker import Failure

_REFUSED: set[int] = set()


def noted(items: list[int]) -> list[tuple[int, int, float]]:
    """Give each item with how many came together, and when."""
    return [(item, len(items), time.monotonic()) for item in items]


def refuses_once(item: int) -> object:
    """Refuse each third item the first time that it comes."""
    if item % 3 == 0 and item not in _REFUSED:
        _REFUSED.add(item)
        return Failure("busy", retry_after=0.05)
    return item
