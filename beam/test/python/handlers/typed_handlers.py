"""Handlers whose annotations name types."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum


class Size(Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Part:
    name: str
    size: Size = Size.SMALL
    made: date | None = None


def seen(part: Part) -> str:
    return f"{type(part).__name__} {part.name} {part.size.name} {part.made}"


def seen_all(parts: list[Part]) -> list[str]:
    return [seen(part) for part in parts]


def larger(part: Part) -> Part:
    return Part(part.name, Size.LARGE, part.made)


def copies(part: Part, times: int = 2) -> Iterator[Part]:
    for number in range(times):
        yield Part(f"{part.name}{number}", part.size)


def pair(both: tuple[Part, set[int]]) -> str:
    return f"{type(both).__name__} {type(both[1]).__name__}"
