"""How long each item takes, in memory that BEAM has open, where a call limits that.

The main thread notes there since when it is at what: an item, or the list of them all. BEAM looks
by its own clock, whatever this process is at, and ends it when an item is over its time. What is
noted is one machine word, written at once: BEAM never sees a half of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from slither._wire.faults import describe
from slither._worker import forked
from slither._worker.failure import Raised

if TYPE_CHECKING:
    from slither._types import Payload

LIST = (1 << 24) - 1
"""What is noted in place of an item's number, counted from 1, for a function of a list."""
# The time is on the system's monotonic clock, in tenths of a ms.
_UNIT_NS = 100_000
_MASK = (1 << 40) - 1

slot: memoryview | None = None
"""Where it is noted; None where BEAM has no such memory."""


def begin(what: int, at_ns: int) -> None:
    """Note what the call is at, and since when: an item's number from 1 on, or ``LIST``."""
    if slot is not None:
        slot[0] = min(what, LIST) << 40 | (at_ns // _UNIT_NS & _MASK)


def rest() -> None:
    """Note that no item is being worked at."""
    if slot is not None:
        slot[0] = 0


def one_by_one(
    handler: Callable[..., Payload],
    items: list[Payload],
    tell: Callable[[BaseException], dict[str, Payload]],
) -> Generator[Payload, None, None]:
    """Run a function on items, and give its results, or its awaitables, as they are there."""
    for at, item in enumerate(items):
        begin(at + 1, time.monotonic_ns())
        try:
            result = handler(item)
        except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
            forked.end(error)
            result = Raised(tell(error))
        forked.end()
        rest()
        yield result


def overdue(limit: int) -> Raised:
    """Return what becomes of an item that was cancelled for its time, ``limit`` ms."""
    message = f"the item ran for more than {limit / 1_000:g} s"
    return Raised(describe("timeout", message, timeout=limit))
