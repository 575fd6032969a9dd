"""Functions with annotations that name types, for test_typed and those beside it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic

from slither import PayloadError
from slither.worker import batch_handler, item_handler

if TYPE_CHECKING:
    from nowhere import Row  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: float
    y: float = 0.0
    colour: Colour = Colour.RED


@dataclass
class Shape:
    name: str
    points: list[Point] = field(default_factory=list)
    home: Path | None = None


@dataclass(frozen=True)
class Out:
    kind: str
    x: float
    path: str | None = None


class Fields(TypedDict):
    n: int
    point: Point


class Pair(NamedTuple):
    left: int
    point: Point


def kind_of(value: object) -> str:
    return type(value).__name__


def one(point: Point) -> Out:
    return Out(kind_of(point), point.x)


def some(points: list[Point]) -> list[Out]:
    assert all(isinstance(point, Point) for point in points), points
    return [Out(f"{len(points)} of {kind_of(point)}", point.x) for point in points]


def yielding(points: list[Point]) -> Iterator[Out]:
    for point in points:
        yield Out(kind_of(point), point.x)


async def later(point: Point) -> Out:
    return Out(kind_of(point), point.x)


async def both_later(point: Point, by: int) -> Out:
    return Out(kind_of(point), point.x * by)


async def some_later(points: list[Point]) -> list[Out]:
    return some(points)


async def streaming(points: list[Point]) -> AsyncIterator[Out]:
    for point in points:
        yield Out(kind_of(point), point.x)


def too_few(points: list[Point]) -> list[Out]:
    return some(points)[1:]


def yields_too_few(points: list[Point]) -> Iterator[Out]:
    yield from some(points)[1:]


def yields_too_many(points: list[Point]) -> Iterator[Out]:
    yield from (*some(points), Out("more", 0.0))


def no_list(points: list[Point]) -> Iterable[Any]:
    return {n: one for n, one in enumerate(some(points))}


def counted(point: Point, times: int = 1, *more: Point, to: Colour = Colour.RED) -> Out:
    return Out(
        f"{kind_of(point)} {kind_of(to)} {len(more)}", sum(p.x for p in (point, *more)) * times
    )


def split(shape: Shape) -> Iterator[Out]:
    for point in shape.points:
        yield Out(kind_of(point), point.x)


def split_all(shapes: list[Shape]) -> list[list[Out]]:
    return [list(split(shape)) for shape in shapes]


async def asplit(shape: Shape) -> AsyncIterator[Out]:
    for out in split(shape):
        yield out


def pair(pair: Pair) -> Pair:
    assert isinstance(pair, Pair)
    return pair


def fields(row: Fields) -> str:
    return kind_of(row["point"])


def hidden(row: Row, point: Point | None = None) -> str:
    return f"{kind_of(row)} {kind_of(point)}"


def liar(item: int) -> Out:
    """Gives what its annotation does not say, for items that 3 divides."""
    found: Any = {"kind": "a", "x": "far"} if item % 3 == 0 else Out("a", item)
    return found  # type: ignore[no-any-return]


def lies(items: list[int]) -> Iterator[Out]:
    yield from map(liar, items)


def unsaid(point):  # type: ignore[no-untyped-def]
    return kind_of(point)


def plain(row: dict[str, Any]) -> str:
    return kind_of(row)


@item_handler("fitting.raw_one", typed=False)
def raw_one(point: Point) -> Out:
    assert not isinstance(point, Point)
    return point


@batch_handler("fitting.raw_some", typed=False)
def raw_some(points: list[Point]) -> list[str]:
    return [kind_of(point) for point in points]


@item_handler("fitting.marked")
def marked(point: Point) -> Out:
    return one(point)


@batch_handler("fitting.marked_some")
def marked_some(points: list[Point]) -> list[Out]:
    return some(points)


def refuses(point: Point) -> Out:
    raise PayloadError("payload.x", f"refused by hand: {dataclasses.asdict(point)['x']}")


@attrs.define
class Stock:
    _shelf: int
    tags: frozenset[str] = frozenset()


class Order(pydantic.BaseModel):
    order_id: int = pydantic.Field(alias="orderId")
    lines: list[Point] = []
    due: date | None = None


class Event(msgspec.Struct, rename="camel", tag="event"):
    event_id: int
    where: Point
    at: datetime
    tags: set[str] = msgspec.field(default_factory=set)


@dataclass
class Everything:
    """A field of each kind."""

    price: Decimal
    id: UUID
    day: date
    at: datetime
    took: timedelta
    path: Path
    colour: Colour
    pair: Pair
    stock: Stock
    order: Order
    event: Event
    points: tuple[Point, ...]
    by_key: dict[UUID, list[Point | None]]
    some: set[int]
    data: bytes
    z: complex
    shape: Shape | Point
    row: Fields


def everything(value: Everything) -> Everything:
    assert type(value) is Everything
    return value


def each_of_them(values: list[Everything]) -> list[Everything]:
    return [everything(value) for value in values]


def stock(value: Stock) -> Stock:
    return value


def order(value: Order) -> Order:
    return value


def event(value: Event) -> Event:
    return value


def colour(value: Colour) -> Colour:
    return value
