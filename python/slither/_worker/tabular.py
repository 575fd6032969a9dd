"""A handler that takes its batch as one frame, made one that takes the list of its items.

The main thread of a worker asks for each call, in :mod:`slither._worker.execute`.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
)
from typing import TYPE_CHECKING

from slither import _takes
from slither._tables import FrameKind, ResultError, framed, results_of
from slither._wire.faults import describe
from slither._worker.errors_out import exception_error
from slither._worker.failure import Raised
from slither._worker.targets import TargetError

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._wire.frames import Call


def kind_of(call: Call, handler: Callable[..., Payload]) -> FrameKind | None:
    """Return what frame a call's handler gets, None for the items as they are.

    Raises TypeError where the call says one thing, and the handler's mark another.
    """
    asked: FrameKind | None = call.context.get("as")
    marked = _takes.frame(handler)
    if asked is None and marked is None:
        return None
    return _takes.checked_frame(handler, asked)


def refuse_many(call: Call, handler: Callable[..., Payload]) -> None:
    """Raise TypeError where a handler that gets a frame is to give many values for each item."""
    if kind_of(call, handler) is not None:
        raise TypeError(
            "a handler that gets its batch as a frame gives one result for each row: it does not "
            "go with many values"
        )


def of_items(handler: Callable[..., Payload], kind: FrameKind) -> Callable[..., Payload]:
    """Return a function of a list of items that gives their frame to the handler."""

    def run(items: list[Payload]) -> Payload:
        frame, refused = framed(items, kind)
        failed = {place: Raised(exception_error(error)) for place, error in refused.items()}
        if len(failed) == len(items):
            return [failed[place] for place in range(len(items))]
        found = handler(frame)
        count = len(items) - len(failed)
        if isinstance(found, Generator):
            return _between(found, failed, len(items)) if failed else found
        if isinstance(found, AsyncGenerator):
            return _between_async(found, failed, len(items)) if failed else found
        if hasattr(type(found), "__await__"):
            return _awaited(found, failed, count, frame)
        return _placed(_results(found, count, frame), failed)

    return run


async def _awaited(
    found: Awaitable[Payload], failed: dict[int, Raised], count: int, frame: Payload
) -> list[Payload]:
    return _placed(_results(await found, count, frame), failed)


def _results(found: Payload, count: int, frame: Payload) -> list[Payload]:
    try:
        return results_of(found, count, frame)
    except ResultError as error:
        raise TargetError(describe(error.kind, str(error), **error.facts)) from None


def _placed(results: list[Payload], failed: dict[int, Raised]) -> list[Payload]:
    for place in sorted(failed):
        results.insert(place, failed[place])
    return results


def _between(
    found: Iterator[Payload], failed: dict[int, Raised], count: int
) -> Generator[Payload, None, None]:
    # The failed items' places are theirs, whatever the handler yields.
    for place in range(count):
        if place in failed:
            yield failed[place]
            continue
        for result in found:
            yield result
            break
        else:
            return
    yield from found


async def _between_async(
    found: AsyncIterator[Payload], failed: dict[int, Raised], count: int
) -> AsyncGenerator[Payload, None]:
    for place in range(count):
        if place in failed:
            yield failed[place]
            continue
        async for result in found:
            yield result
            break
        else:
            return
    async for result in found:
        yield result
