"""Functions that give values one by one, for a driver's workers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator

from slither import worker
from slither._types import Payload


def note(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text + "\n")


def count(n: int, path: str = "") -> Iterator[int]:
    try:
        for value in range(n):
            if path:
                note(path, f"made {value}")
            yield value
    finally:
        if path:
            note(path, "closed")


async def acount(n: int, path: str = "") -> AsyncIterator[int]:
    try:
        for value in range(n):
            yield value
            await asyncio.sleep(0)
    finally:
        if path:
            note(path, "closed")


async def later(n: int, *, plus: int = 0) -> list[int]:
    return [value + plus for value in range(n)]


def words(text: str) -> list[str]:
    return text.split()


def raises_after(n: int) -> Iterator[int]:
    yield from range(n)
    raise ValueError("after", n)


def stops_after(n: int) -> Iterator[int]:
    yield from range(n)
    raise SystemExit(n)


def dies_after(n: int) -> Iterator[int]:
    yield from range(n)
    time.sleep(0.2)
    os._exit(3)


def hangs_after(n: int) -> Iterator[int]:
    yield from range(n)
    time.sleep(600)


def remembers(n: int) -> Iterator[int]:
    state = worker.session()
    for _ in range(n):
        state["count"] = state.get("count", 0) + 1
        yield state["count"]


def number() -> int:
    return 5


def echo(*values: Payload) -> Iterator[Payload]:
    yield from values
