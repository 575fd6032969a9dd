"""Items of several iterables at once, as ``map`` of the standard library takes them.

Pure but for pulling; run in the thread, or the event loop, that asks for results.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator

from slither._types import Payload

AnyIterable = Iterable[Payload] | AsyncIterable[Payload]


def together(iterables: tuple[Iterable[Payload], ...]) -> Iterator[Payload]:
    """Return the items as calls have them: the arguments, and no named ones.

    They end with the shortest iterable.

    >>> list(together(([1, 2, 3], "ab")))
    [[[1, 'a'], {}], [[2, 'b'], {}]]
    """
    return ([list(arguments), {}] for arguments in zip(*iterables, strict=False))


def together_async(iterables: tuple[AnyIterable, ...]) -> AnyIterable:
    """Return the same of iterables of which some may be asynchronous."""
    plain = [one for one in iterables if isinstance(one, Iterable)]
    if len(plain) == len(iterables):
        return together(tuple(plain))
    return _asynchronous(iterables)


async def _asynchronous(iterables: tuple[AnyIterable, ...]) -> AsyncIterator[Payload]:
    sources = [aiter(one) if isinstance(one, AsyncIterable) else _each(one) for one in iterables]
    try:
        while True:
            try:
                yield [[await anext(source) for source in sources], {}]
            except StopAsyncIteration:
                return
    finally:
        for source in sources:
            if isinstance(source, AsyncGenerator):
                await source.aclose()


async def _each(iterable: Iterable[Payload]) -> AsyncIterator[Payload]:
    for item in iterable:
        yield item
