"""Handlers that write into their arrays, or say that they only read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy

from slither.worker import batch_handler, item_handler


def look(array: Any) -> list[str]:
    """Try to write, and say how it went and what the array stands on."""
    stands_on = array
    while isinstance(stands_on, numpy.ndarray) and stands_on.base is not None:
        stands_on = stands_on.base
    stands_on = getattr(stands_on, "obj", stands_on)
    try:
        array[...] = array[::-1].copy()
    except ValueError as error:
        return [str(error), type(stands_on).__name__]
    return ["written", type(stands_on).__name__]


def plain(item: Any) -> list[str]:
    return look(item)


@item_handler(writable=False)
def one(item: Any) -> list[str]:
    return look(item)


@item_handler(writable=False)
def within(item: Any) -> list[str]:
    return look(item["deep"][0][1])


@item_handler(writable=False)
async def awaited(item: Any) -> list[str]:
    return look(item)


@batch_handler(writable=False)
def several(items: list[Any]) -> list[list[str]]:
    return [look(item) for item in items]


@batch_handler(writable=False)
def yielded(items: list[Any]) -> Iterator[list[str]]:
    for item in items:
        yield look(item)


@item_handler(writable=False)
def many(item: Any) -> list[list[str]]:
    return [look(item)] * 2


@item_handler("reading_sum", writable=False)
def total(item: Any) -> float:
    return float(item.sum())
