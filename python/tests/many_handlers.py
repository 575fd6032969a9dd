"""Handlers that give many values for an item."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator

from slither import views
from slither._types import Payload
from slither.worker import Failure, context, item_handler, session

log: list[str] = []


def told() -> list[str]:
    """What was logged since it was asked last."""
    taken = list(log)
    log.clear()
    return taken


def count(n: int) -> Iterator[int]:
    try:
        for value in range(n):
            log.append(f"{n}: {value}")
            yield value
    finally:
        log.append(f"{n}: closed")


async def acount(n: int) -> AsyncIterator[int]:
    try:
        for value in range(n):
            yield value
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        log.append(f"{n}: closed")


async def later(n: int) -> list[int]:
    await asyncio.sleep(0)
    return list(range(n))


@item_handler
def marked(n: int) -> Iterator[int]:
    return iter(range(n))


def lists(items: list[int]) -> list[list[int]]:
    return [list(range(n)) for n in items]


def batches(items: list[int]) -> Iterator[Iterator[int]]:
    for n in items:
        yield count(n)


async def abatches(items: list[int]) -> AsyncIterator[AsyncIterator[int]]:
    for n in items:
        yield acount(n)


def too_few(items: list[int]) -> list[list[int]]:
    return [[]] * (len(items) - 1)


def one_more(items: list[int]) -> Iterator[list[int]]:
    yield from [[n] for n in items]
    yield [0]


def breaks_at(items: list[int]) -> Iterator[list[int]]:
    for n in items:
        if n == 7:
            raise ValueError("seven")
        yield [n]


def fails(items: list[int]) -> list[list[int]]:
    raise ValueError(f"all {len(items)}")


def raises_after(n: int) -> Iterator[int]:
    yield from range(n)
    raise ValueError(f"after {n}")


def stops(n: int) -> Iterator[int]:
    yield n
    sys.exit("enough")


def anything(item: Payload) -> Payload:
    return {
        "none": None,
        "text": "abc",
        "dict": {"a": 1},
        "number": 5,
        "tuple": (1, 2),
        "set": {3},
        "range": range(3),
        "failure": Failure("on purpose"),
        "late failure": [1, Failure("on purpose"), 3],
        "unsendable": [1, object(), 3],
    }[item]


def waits(n: int) -> Iterator[Payload]:
    """Asks a view before each value but the first: the test lets it go on by its answers."""
    yield "first"
    for index in range(n):
        yield views.call("next", index)


async def awaits(n: int) -> AsyncIterator[Payload]:
    """Asks a view as it begins, and then waits for ever."""
    try:
        views.call("begun", n)
        await asyncio.Event().wait()
        yield "never"
    finally:
        log.append("cancelled")


def slow(n: int) -> Iterator[int]:
    for value in range(n):
        time.sleep(0.03)
        yield value


async def with_task(n: int) -> AsyncIterator[int]:
    """A task of its own, which must live on between calls, gives the values."""
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def fill() -> None:
        for value in range(n):
            await queue.put(value)
            await asyncio.sleep(0)

    task = asyncio.create_task(fill())
    for _ in range(n):
        yield await queue.get()
    await task


def long(n: int) -> Iterator[str]:
    for value in range(n):
        yield str(value) * 300_000


def forks(n: int) -> Iterator[int]:
    yield os.getpid()
    if os.fork() == 0:
        return
    yield os.getpid()


def remembers(n: int) -> Iterator[int]:
    state = session()
    for _ in range(n):
        state["count"] = state.get("count", 0) + 1
        yield state["count"]


def where(n: int) -> Iterator[list[Payload]]:
    for _ in range(n):
        here = context()
        yield [here.run, here.batch]


def plus(a: int, *, b: int) -> Iterator[int]:
    yield a
    yield a + b


def breaks_as_it_closes(n: int) -> Iterator[int]:
    try:
        yield from range(n)
    finally:
        raise ValueError("as it closes")
