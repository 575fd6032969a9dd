"""A handler that takes its batch as one frame, made one that takes the list of its items.

The main thread of a worker asks, in :mod:`slither._worker.execute`, for a call whose handler gets
a frame. An item that is no row fails alone, as one that is not of its handler's type does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import TYPE_CHECKING

from slither._dataframes import ResultError, framed, results_of
from slither._wire.faults import describe
from slither._worker import fitted
from slither._worker.failure import BatchError

if TYPE_CHECKING:
    from slither._takes import FrameKind
    from slither._types import Payload


def of_items(handler: Callable[..., Payload], kind: FrameKind) -> Callable[..., Payload]:
    """Return a function of a list of items that gives their frame to the handler."""

    def run(items: list[Payload]) -> Payload:
        if not items:
            return []
        frame, refused = framed(items, kind)
        rows = [item for place, item in enumerate(items) if place not in refused]

        def handle(rows: list[Payload]) -> Payload:
            return _listed(handler(frame), len(rows), frame)

        return fitted.handled(handle, items, rows, refused)

    return run


def _listed(found: Payload, count: int, frame: Payload) -> Payload:
    # What it yields are results as they are.
    if isinstance(found, Generator | AsyncGenerator):
        return found
    if hasattr(type(found), "__await__"):
        return _awaited(found, count, frame)
    return _results(found, count, frame)


async def _awaited(found: Awaitable[Payload], count: int, frame: Payload) -> list[Payload]:
    return _results(await found, count, frame)


def _results(found: Payload, count: int, frame: Payload) -> list[Payload]:
    try:
        return results_of(found, count, frame)
    except ResultError as error:
        raise BatchError(describe(error.kind, str(error), **error.facts)) from None
