"""Functions that give values one by one, for single calls; a file tells of what was closed."""

import asyncio
import os
import time

from slither.worker import progress, session


def note(path, text):
    with open(path, "a") as file:
        file.write(text + "\n")


def count(n, path=None):
    try:
        for value in range(n):
            if path:
                note(path, f"made {value}")
            yield value
    finally:
        if path:
            note(path, "closed")


async def acount(n, path=None):
    try:
        for value in range(n):
            yield value
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        if path:
            note(path, "closed")


def pids(n):
    for _ in range(n):
        yield os.getpid()


def raises_after(n):
    yield from range(n)
    raise ValueError(f"after {n}")


def unsendable():
    yield 1
    yield object()


def dies_after(n):
    yield from range(n)
    os._exit(3)


def hangs_after(n):
    yield from range(n)
    progress(1)
    time.sleep(600)


async def waits_after(n, path):
    """Waits for ever, where a cancel finds it."""
    try:
        for value in range(n):
            yield value
        progress(1)
        await asyncio.Event().wait()
    finally:
        note(path, "closed")


def remembers(n):
    state = session()
    for _ in range(n):
        state["count"] = state.get("count", 0) + 1
        yield state["count"]


def number():
    return 5
