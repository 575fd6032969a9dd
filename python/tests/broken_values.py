"""Results that break while they are encoded, in all ways in which a handler may give them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from slither._types import Payload
from slither.worker import Failure, item_handler


class Zone(datetime.tzinfo):
    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1 // 0)

    def dst(self, when: datetime.datetime | None) -> None:
        return None

    def tzname(self, when: datetime.datetime | None) -> str:
        return "broken"


class Mapping(dict[str, int]):
    def items(self) -> Payload:
        raise LookupError("no items")


def deep(levels: int) -> list[Payload]:
    made: list[Payload] = []
    for _ in range(levels - 1):
        made = [made]
    return made


def value(item: str) -> Payload:
    if item == "zone":
        return datetime.datetime(2020, 1, 1, tzinfo=Zone())
    if item == "mapping":
        return {"in": Mapping(a=1), "tags": range(1)}
    if item == "deep reason":
        return Failure(deep(1_000))
    if item == "long reason":
        return Failure("x" * 1_000_000)
    return item


def broken(items: list[str]) -> list[Payload]:
    return [value(item) for item in items]


def yields_broken(items: list[str]) -> Iterator[Payload]:
    return (value(item) for item in items)


async def broken_later(items: list[str]) -> list[Payload]:
    return broken(items)


@item_handler(concurrency=2)
async def break_one(item: str) -> Payload:
    return value(item)
