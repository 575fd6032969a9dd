"""Handlers of batches that are replayed."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from slither import ViewFailed, store, views
from slither._types import Payload
from slither.worker import Failure, batch_handler, item_handler, on_start, progress, session

_started: list[Payload] = []


@on_start
def start() -> None:
    _started.append(True)


def initialize(word: str) -> None:
    _started.insert(0, word)


def started(items: list[Payload]) -> list[Payload]:
    print(f"started: {_started[1]}, {_started[0]}")
    return items


def odd(items: list[int]) -> list[int]:
    assert Path("replayed.py").exists()
    for item in items:
        if item % 2:
            raise ValueError(f"odd: {item}")
    return items


def short(items: list[Payload]) -> list[Payload]:
    return items[1:]


def asks(items: list[Payload]) -> list[Payload]:
    rates = store.table("rates")
    price = views.price(a=2, b=1)
    seen = [price, rates["x"], dict(rates.items())]
    rates["x"] = 6
    try:
        views.call("price", "gone")
    except ViewFailed as error:
        seen.append(str(error).rsplit(": ", maxsplit=1)[-1])
    print(seen)
    return items


@item_handler
def some(item: Payload) -> Payload:
    return Failure("on purpose") if item == "skip" else 1 / item


@batch_handler
async def everything(items: list[Payload]) -> list[Payload]:
    session()["calls"] = 1
    progress(1, 1)
    return items


def crash(items: list[Payload]) -> list[Payload]:
    ctypes.string_at(0)
    return items


def leave(items: list[Payload]) -> list[Payload]:
    print("said by the handler")
    os._exit(7)
