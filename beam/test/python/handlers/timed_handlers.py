"""Handlers whose items take time, and say in a file that they have begun."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time

from slither.worker import batch_handler, item_handler


def _stay(how: str) -> None:
    if how == "sleep":
        time.sleep(600)
    elif how == "lock":
        # C code that holds the GIL.
        ctypes.PyDLL(None).sleep(600)
    elif how.startswith("brief"):
        time.sleep(float(how.split()[1]))


def _begun(path: str, name: object) -> None:
    with open(path, "a") as file:
        file.write(f"{name}\n")


@item_handler
def one(item: list) -> object:
    path, name, how = item
    _begun(path, name)
    _stay(how)
    return [name, os.getpid()]


@batch_handler
def listed(items: list) -> list:
    return [one(item) for item in items]


@batch_handler
def yielded(items: list):
    for item in items:
        yield one(item)


@item_handler(concurrency=4)
async def waits(item: list) -> object:
    path, name, how = item
    _begun(path, name)
    if how == "deaf":
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                _begun(path, "deaf")
    elif how == "wait":
        await asyncio.sleep(600)
    else:
        await asyncio.sleep(0)
        _stay(how)
    return [name, os.getpid()]


@item_handler
def raises(item: list) -> object:
    path, name, how = item
    _begun(path, name)
    if how == "raise":
        raise TimeoutError("its own")
    if how == "exit":
        raise SystemExit(3)
    return name
