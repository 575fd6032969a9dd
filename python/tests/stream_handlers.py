"""Handlers that yield."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

from slither import views
from slither._types import Payload
from slither.worker import Failure, progress

log: list[str] = []


def steps(items: list[Payload]) -> Iterator[Payload]:
    """Asks a view before each result: the test lets it go on by its answers."""
    for item in items:
        yield views.call("step", item)


def numbers(items: list[Payload]) -> Iterator[Payload]:
    try:
        for item in items:
            log.append(f"made {item}")
            yield item
    except GeneratorExit:
        log.append("closed")
        raise


def told(items: list[Payload]) -> list[Payload]:
    """What has been logged since it was asked last, for one item."""
    taken = list(log)
    log.clear()
    return [taken for _ in items]


def raises_at(items: list[Payload]) -> Iterator[Payload]:
    for item in items:
        if item == "raise":
            raise ValueError("midway")
        yield item


def raises_at_the_end(items: list[Payload]) -> Iterator[Payload]:
    yield from items
    raise ValueError("too late")


def too_few(items: list[Payload]) -> Iterator[Payload]:
    yield from items[:-2]


def too_many(items: list[Payload]) -> Iterator[Payload]:
    try:
        yield from items
        yield "more"
    finally:
        log.append("ended")


def odd(items: list[Payload]) -> Iterator[Payload]:
    made: dict[str, Payload] = {
        "set": range(1),
        "failure": Failure("not this one"),
        "reason": Failure({"code": 7}),
        "coroutine": later(),
        "large": b"x" * 300_000,
    }
    for item in items:
        yield made.get(item, item)
    made["coroutine"].close()


async def later() -> None:
    return None


def reuses(items: list[int]) -> Iterator[Payload]:
    row = {"n": 0}
    for item in items:
        row["n"] = item
        yield row


def dies(items: list[Payload]) -> Iterator[Payload]:
    for item in items:
        if item == "die":
            os._exit(7)
        yield item


def exits(items: list[Payload]) -> Iterator[Payload]:
    yield items[0]
    raise SystemExit(3)


def refuses_to_close(items: list[Payload]) -> Iterator[Payload]:
    while True:
        try:
            yield "on"
        except GeneratorExit:
            yield "and on"


def bytes_of(sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        yield bytes(size)


def forever(items: list[Payload]) -> Iterator[Payload]:
    progress(0, len(items))
    try:
        while True:
            yield None
    finally:
        log.append("closed")


async def async_numbers(items: list[Payload]) -> AsyncIterator[Payload]:
    try:
        for item in items:
            log.append(f"made {item}")
            yield item
    finally:
        log.append("closed")


async def async_steps(items: list[Payload]) -> AsyncIterator[Payload]:
    import asyncio

    for item in items:
        yield await asyncio.to_thread(views.call, "step", item)


async def async_raises_at(items: list[Payload]) -> AsyncIterator[Payload]:
    for item in items:
        if item == "raise":
            raise ValueError("midway")
        yield item


async def makes_a_generator(items: list[Payload]) -> Iterator[Payload]:
    return numbers(items)
