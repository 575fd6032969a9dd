"""Handlers of every kind that fork a child, and how the child ends."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator

from slither.worker import batch_handler, item_handler


def _fork(how: str) -> int:
    """Return the status of a child, in the parent; in the child, end as ``how`` says."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if how == "exit":
        sys.exit(5)
    if how == "words":
        sys.exit("last words")
    if how == "raise":
        raise ValueError("in the child")
    if how == "os error":
        raise OSError("in the child")
    if how == "_exit":
        os._exit(6)
    return -1


@batch_handler
def in_a_batch(items: list[str]) -> list[int]:
    return [_fork(item) for item in items]


@item_handler
def in_an_item(item: str) -> int:
    return _fork(item)


@batch_handler
def in_a_generator(items: list[str]) -> Iterator[int]:
    for item in items:
        yield _fork(item)


@batch_handler
async def in_a_coroutine(items: list[str]) -> list[int]:
    return [_fork(item) for item in items]


@item_handler(concurrency=1)
async def in_an_items_coroutine(item: str) -> int:
    return _fork(item)


@batch_handler
async def in_an_async_generator(items: list[str]) -> AsyncIterator[int]:
    for item in items:
        yield _fork(item)
