"""Functions of one item and of a list, as marks and annotations say, for test_takes."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from slither.worker import batch_handler, item_handler

if TYPE_CHECKING:
    from nowhere import Row  # type: ignore[import-not-found]


class Fields(TypedDict):
    n: int


Rows = list[dict[str, int]]
Awaited = Coroutine[Any, Any, list[int]]


def plain(item):  # type: ignore[no-untyped-def]
    return [item, item]


def unsaid(rows):  # type: ignore[no-untyped-def]
    return [row["n"] for row in rows]


def one(row: dict[str, int]) -> int:
    return row["n"]


def one_typed(row: Fields) -> int:
    return row["n"]


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def no_result(rows: list[int]):  # type: ignore[no-untyped-def]
    return rows


def pair(numbers: list[int]) -> tuple[list[int], list[int]]:
    return numbers, numbers


def at_most(rows: list[int] | None) -> list[int]:
    return rows or []


def point(two: tuple[int, int]) -> list[int]:
    return list(two)


def spread(*rows: list[int]) -> list[int]:
    return rows[0]


def double(numbers: list[int]) -> list[int]:
    return [2 * n for n in numbers]


def by_alias(rows: Rows) -> Rows:
    return rows


def sequence(numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(2 * n for n in numbers)


def yielding(numbers: list[int]) -> Iterator[int]:
    yield from numbers


def generating(numbers: list[int]) -> Generator[int, None, None]:
    yield from numbers


async def later(numbers: list[int]) -> list[int]:
    return numbers


async def streaming(numbers: list[int]) -> AsyncIterator[int]:
    for n in numbers:
        yield n


def coroutine(numbers: list[int]) -> Awaited:
    return later(numbers)


def norm(rows: list[list[float]]) -> list[float]:
    return [sum(row) for row in rows]


def nested_or_not(rows: list[list[int] | int]) -> list[int]:
    return [1 for _ in rows]


def norm_or_none(rows: list[list[float] | None]) -> list[float]:
    return [sum(row or ()) for row in rows]


def named_only(*, rows: list[int]) -> list[int]:
    return rows


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, rows: list[int]) -> list[int]:
        return rows


unhashable = Unhashable()


def anything(rows: list[Any]) -> list[Any]:
    return rows


def checked_only(rows: list[Row]) -> list[Row]:
    return rows


def checked_one(row: Row) -> list[int]:
    return [row["n"]]


@item_handler("taking.marked_one")
def marked_one(numbers: list[int]) -> list[int]:
    return [len(numbers)]


@batch_handler("taking.marked_list")
def marked_list(row):  # type: ignore[no-untyped-def]
    return row


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


wrapped = timed(double)
wrapped_marked = timed(marked_list)
partial = functools.partial(double)


class Doubler:
    def __call__(self, numbers: list[int]) -> list[int]:
        return [2 * n for n in numbers]


doubler = Doubler()
