"""Handlers that get what their annotations say, in place of the data that came.

What a function says is found by :mod:`slither._typed.functions`; where that is nothing, it is
called as it is. An item that is not of its type fails alone: a function of one item is not called
for it, and one of a list gets the others; their results go back to their places.

The main thread wraps the handler of a call: :mod:`slither._worker.execute`, and
:mod:`slither._worker.drawing` for those of which items have many values.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from slither._typed import functions
from slither._wire.faults import describe
from slither._worker import forked
from slither._worker.errors_out import exception_error
from slither._worker.failure import BatchError, Raised

if TYPE_CHECKING:
    from slither._types import Payload

Handler: TypeAlias = "Callable[..., Payload]"
_Failed: TypeAlias = dict[int, Raised]


def one(handler: Handler) -> Handler:
    """Return a handler of one item, as one that takes it as it came."""
    return opening(handler, functions.of_item(handler))


def several(handler: Handler) -> Handler:
    """Return a handler of a list of items, as one that takes them as they came."""
    convert = functions.of_list(handler)
    if convert is None:
        return handler

    return lambda items: handled(handler, items, *functions.each(convert, items))


def opening(handler: Handler, opens: Handler | None) -> Handler:
    """Return a handler of one item that is opened first, where ``opens`` is given."""
    if opens is None:
        return handler
    if not inspect.iscoroutinefunction(handler):
        return lambda item: handler(opens(item))

    # What is wrong with its item a coroutine raises when it runs, as what is wrong in itself.
    async def handle(item: Payload) -> Payload:
        return await handler(opens(item))

    return handle


def opening_all(handler: Handler, opens: Handler | None) -> Handler:
    """Return a handler of a list of items that are opened first, where ``opens`` is given."""
    if opens is None:
        return handler
    return lambda items: handled(handler, items, *_opened(items, opens))


def _opened(
    items: list[Payload], opens: Handler
) -> tuple[list[Payload], dict[int, BaseException]]:
    opened: list[Payload] = []
    failed: dict[int, BaseException] = {}
    for at, item in enumerate(items):
        try:
            opened.append(opens(item))
        except BaseException as error:  # noqa: BLE001 - what unpickling runs is the user's code
            forked.end(error)
            failed[at] = error
    return opened, failed


def handled(
    handler: Handler,
    items: list[Payload],
    fitting: list[Payload],
    wrong: Mapping[int, BaseException],
) -> Payload:
    """Return what a handler makes of the items that fit; why others don't is in their places."""
    if not wrong:
        return handler(fitting)
    failed = {at: Raised(exception_error(error)) for at, error in wrong.items()}
    if not fitting:
        return [failed[at] for at in range(len(items))]
    return _among(handler(fitting), failed, len(items))


def called(function: Handler) -> Handler:
    """Return a function as one of an item that is its arguments, and its named ones."""
    typed: Handler = functions.called(function)
    if typed is function or not inspect.iscoroutinefunction(function):
        return lambda item: typed(*item[0], **item[1])

    # As in :func:`opening`.
    async def handle(item: Payload) -> Payload:
        return await typed(*item[0], **item[1])

    return handle


def _among(results: Any, failed: _Failed, count: int) -> Payload:
    """Return results with those of items that failed before in their places."""
    if isinstance(results, list | tuple):
        return _listed(results, failed, count)
    if hasattr(type(results), "__await__"):
        return _awaited(results, failed, count)
    if hasattr(results, "__aiter__"):
        return _drawn(aiter(results), failed, count)
    if hasattr(results, "__next__"):
        return _yielded(results, failed, count)
    # No list: who called says so.
    return results


def _listed(results: Any, failed: _Failed, count: int) -> list[Payload]:
    expected = count - len(failed)
    if len(results) != expected:
        message = f"the handler returned {len(results)} results for {expected} items"
        raise BatchError(describe("wrong_length", message, expected=expected, got=len(results)))
    rest = iter(results)
    return [failed[at] if at in failed else next(rest) for at in range(count)]


async def _awaited(results: Any, failed: _Failed, count: int) -> Payload:
    return _among(await results, failed, count)


def _yielded(results: Any, failed: _Failed, count: int) -> Iterator[Payload]:
    try:
        for at in range(count):
            if at in failed:
                yield failed[at]
                continue
            try:
                result = next(results)
            except StopIteration:
                return
            yield result
        # One too many is the caller's to tell.
        yield from results
    finally:
        if hasattr(results, "close"):
            results.close()


async def _drawn(results: Any, failed: _Failed, count: int) -> AsyncIterator[Payload]:
    try:
        for at in range(count):
            if at in failed:
                yield failed[at]
                continue
            try:
                result = await anext(results)
            except StopAsyncIteration:
                return
            yield result
        async for result in results:
            yield result
    finally:
        if hasattr(results, "aclose"):
            await results.aclose()
