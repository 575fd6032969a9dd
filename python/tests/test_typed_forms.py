"""What becomes of a value by each kind of annotation, and what is said of one that is no such."""

# People write all of these.
# ruff: noqa: UP006, UP007, UP045

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import fractions
import gc
import ipaddress
import os
import sys
import typing
import weakref
from collections import abc
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy as np
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import NotRequired, Required, Self, Unpack

from slither import PayloadError
from slither._takes import takes
from slither._typed import functions
from slither._typed.build import form_of
from slither._typed.mismatch import Mismatch

T = TypeVar("T")
Number = TypeVar("Number", int, float)
Known = TypeVar("Known", bound="Point")


class Colour(enum.Enum):
    RED = "red"
    PAIR = ("b", 1)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass
class Node:
    name: str
    kids: list[Node] = field(default_factory=list)
    parent: Self | None = None
    colour: Colour | None = None


@dataclass(frozen=True, order=True)
class Key:
    id: int


@dataclass
class Circle:
    kind: Literal["circle"]
    r: float


@dataclass
class Square:
    kind: Literal["square"]
    side: float


@dataclass
class Big:
    x: float
    y: float = 0.0
    z: float = 0.0


@dataclass
class Odd:
    a: int
    scale: InitVar[int] = 2
    doubled: int = field(init=False, default=0)
    shared: ClassVar[list[int]] = []
    only: int = field(kw_only=True, default=1)

    def __post_init__(self, scale: int) -> None:
        if self.a < 0:
            raise ValueError("a is 0 or more")
        self.doubled = scale * self.a


@dataclass
class Box(Generic[T]):
    value: T
    more: list[T] = field(default_factory=list)


@dataclass
class PointBox(Box[Point]):
    tag: str = ""


class Fields(TypedDict, total=False):
    n: Required[int]
    point: Point


class Whole(TypedDict):
    n: int
    point: NotRequired[Point]


class Pair(NamedTuple):
    left: int
    point: Point
    more: int = 3


Bare = collections.namedtuple("Bare", ["a", "b"])


@attrs.define
class Shop:
    _id: int
    tags: set[Colour] = attrs.field(converter=set, factory=set)
    point: Point | None = None
    made: int = attrs.field(init=False, default=7)


class Model(pydantic.BaseModel):
    my_x: int = pydantic.Field(alias="myX")
    points: list[Point] = []
    inner: Model | None = None


@pydantic.dataclasses.dataclass
class Checked:
    n: pydantic.PositiveInt


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    colour: Colour
    keys: tuple[Key, ...] = ()
    n: int = 0


class Struct(msgspec.Struct, rename="camel"):
    my_x: float
    point: Point | None = None
    path: Path | None = None
    array: np.ndarray[Any, Any] | None = None
    inner: Struct | None = None


class Row(msgspec.Struct, array_like=True, tag="row"):
    a: int
    b: str


class Name(str):
    pass


class Odder(str):
    def __new__(cls, text: str, more: int) -> Odder:
        return super().__new__(cls, text * more)


class Unknown:
    pass


UserId = NewType("UserId", int)
Points = NewType("Points", list[Point])
NOON = datetime(2024, 1, 2, 12, tzinfo=timezone.utc)
ID = "550e8400-e29b-41d4-a716-446655440000"
P1, P2 = Point(1), Point(2)
# What converters of attrs take, of which type checkers know nothing.
RED: Any = {Colour.RED}
OTHER: Any = {"other"}

FITS: list[tuple[Any, Any, Any]] = [
    (Point, {"x": 1}, P1),
    (Point, {"x": 1, "y": 2.5, "else": "left aside"}, Point(1, 2.5)),
    (Point, P1, P1),
    (
        Node,
        {"name": "a", "kids": [{"name": "b", "colour": "red"}], "parent": {"name": "c"}},
        None,
    ),
    (Odd, {"a": 2}, Odd(2)),
    (Odd, {"a": 2, "scale": 5, "only": 4}, Odd(2, 5, only=4)),
    (Box[Point], {"value": {"x": 1}, "more": [{"x": 2}]}, Box(P1, [P2])),
    (Box, {"value": {"x": 1}}, Box({"x": 1})),
    (Box[list[int]], {"value": [1]}, Box([1])),
    (PointBox, {"value": {"x": 1}, "more": [{"x": 2}]}, PointBox(P1, [P2])),
    (Fields, {"n": 1}, {"n": 1}),
    (Fields, {"n": 1, "point": {"x": 1}, "k": 2}, {"n": 1, "point": P1, "k": 2}),
    (Whole, {"n": 1}, {"n": 1}),
    (Pair, [1, {"x": 1}], Pair(1, P1)),
    (Pair, (1, {"x": 1}, 4), Pair(1, P1, 4)),
    (Pair, {"left": 1, "point": {"x": 1}}, Pair(1, P1)),
    (Bare, [1, "b"], Bare(1, "b")),
    (Shop, {"_id": 1, "tags": ["red"], "point": {"x": 1}}, Shop(1, RED, P1)),
    (Shop, {"id": 1}, Shop(1)),
    (Shop, {"_id": 1, "tags": ["other"]}, Shop(1, OTHER)),
    (Model, {"my_x": 1, "points": [{"x": 1}], "inner": {"my_x": 2}}, None),
    (Model, {"myX": 1}, Model(myX=1)),
    (Checked, {"n": 1}, Checked(1)),
    (Strict, {"colour": "red", "keys": [{"id": 1}]}, Strict(colour=Colour.RED, keys=(Key(1),))),
    (Struct, {"myX": 1, "point": {"x": 1}, "path": "a", "inner": {"myX": 2}}, None),
    (Row, ["row", 1, "b"], Row(1, "b")),
    (Colour, "red", Colour.RED),
    (Colour, ("b", 1), Colour.PAIR),
    (Colour, ["b", 1], Colour.PAIR),
    (Colour, Colour.RED, Colour.RED),
    (Level, 2, Level.HIGH),
    (Mode, 3, Mode.READ | Mode.WRITE),
    (Name, "a", Name("a")),
    (Odder, "a", "a"),
    (Path, "a/b", Path("a/b")),
    (Path, PurePosixPath("a"), Path("a")),
    (PureWindowsPath, "a\\b", PureWindowsPath("a/b")),
    (os.PathLike, "a", Path("a")),
    (os.PathLike[str], Path("a"), Path("a")),
    (date, "2024-01-02", date(2024, 1, 2)),
    (date, date(2024, 1, 2), date(2024, 1, 2)),
    (time, "12:30", time(12, 30)),
    (datetime, "2024-01-02T12:00:00Z", NOON),
    (datetime, "2024-01-02T12:00:00+00:00", NOON),
    (timedelta, timedelta(1), timedelta(1)),
    (Decimal, "1.50", Decimal("1.50")),
    (Decimal, 2, Decimal(2)),
    (Decimal, 0.1, Decimal("0.1")),
    (UUID, ID, UUID(ID)),
    (ipaddress.IPv4Address, "10.0.0.1", ipaddress.IPv4Address("10.0.0.1")),
    (ZoneInfo, "Europe/Berlin", ZoneInfo("Europe/Berlin")),
    (fractions.Fraction, "1/3", fractions.Fraction(1, 3)),
    (bytearray, b"a", bytearray(b"a")),
    (memoryview, b"a", memoryview(b"a")),
    (list[Point], [{"x": 1}], [P1]),
    (list[Point], ({"x": 1},), [P1]),
    (typing.List[Point], [{"x": 1}], [P1]),
    (abc.Sequence[Point], ({"x": 1},), (P1,)),
    (typing.Sequence[Point], [{"x": 1}], [P1]),
    (abc.Iterable[Point], [{"x": 1}], [P1]),
    (abc.Collection[Key], {1: 1}.keys() and [{"id": 1}], [Key(1)]),
    (dict[str, Point], {"a": {"x": 1}}, {"a": P1}),
    (dict[Colour, list[Point]], {"red": [{"x": 1}]}, {Colour.RED: [P1]}),
    (dict[date, int], {"2024-01-02": 1}, {date(2024, 1, 2): 1}),
    (abc.Mapping[str, Point], {"a": {"x": 1}}, {"a": P1}),
    (typing.Dict[str, Point], {"a": {"x": 1}}, {"a": P1}),
    (tuple[int, Point], [1, {"x": 1}], (1, P1)),
    (tuple[Point, ...], [{"x": 1}], (P1,)),
    (tuple, [1, 2], (1, 2)),
    (tuple[int, Unpack[tuple[str, ...]]], [1, "a"], (1, "a")),
    (set[Key], [{"id": 1}, {"id": 1}], {Key(1)}),
    (frozenset[int], {1}, frozenset({1})),
    (abc.Set[int], frozenset({1}), frozenset({1})),
    (set, [1], {1}),
    (collections.deque[Point], [{"x": 1}], collections.deque([P1])),
    (collections.Counter[str], {"a": 1}, collections.Counter(a=1)),
    (collections.OrderedDict[str, Point], {"a": {"x": 1}}, collections.OrderedDict(a=P1)),
    (Optional[Point], None, None),
    (Optional[Point], {"x": 1}, P1),
    (Point | None, {"x": 1}, P1),
    (Union[Point, int], 3, 3),
    (Circle | Square, {"kind": "square", "side": 1}, Square("square", 1)),
    (Point | Big, {"x": 1, "z": 2}, Big(1, 0.0, 2)),
    (Big | Point, {"x": 1, "y": 2}, Point(1, 2)),
    (Point | dict[str, int], {"x": 1}, P1),
    (Point | dict[str, int], {"q": 1}, {"q": 1}),
    (list[Point] | Point, [{"x": 1}], [P1]),
    (list[Point] | list[Circle], [{"kind": "circle", "r": 1}], [Circle("circle", 1)]),
    (Colour | str, "red", Colour.RED),
    (Colour | str, "other", "other"),
    (str | Path, "a", "a"),
    (str | Path, Path("a"), Path("a")),
    (int | date, "2024-01-02", date(2024, 1, 2)),
    (date | datetime, NOON, NOON),
    (datetime | date, "2024-01-02", datetime(2024, 1, 2)),
    (set[int] | None, [1], {1}),
    (tuple[int, int] | tuple[int, int, int], [1, 2, 3], (1, 2, 3)),
    (Literal[Colour.RED], "red", Colour.RED),
    (Literal["a"] | Point, "a", "a"),
    (Points, [{"x": 1}], [P1]),
    (Annotated[Point, "metres"], {"x": 1}, P1),
    (Annotated[list[Annotated[Point, {}]], []], [{"x": 1}], [P1]),
    (Known, {"x": 1}, P1),
    (typing.Final[Point], {"x": 1}, P1),
    (dict[str, typing.Any] | Point, P1, P1),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), FITS)
def test_a_value_that_fits(annotation: Any, value: Any, expected: Any) -> None:
    form = form_of(annotation)
    made = form.convert(value)
    if expected is not None or value is None:
        assert made == expected
        assert type(made) is type(expected)
    # What is of the type already stays so.
    assert form.convert(made) == made


def test_the_parts_of_records_are_of_their_types() -> None:
    node = form_of(Node).convert(
        {"name": "a", "kids": [{"name": "b", "colour": "red"}], "parent": {"name": "c"}}
    )
    assert node == Node("a", [Node("b", colour=Colour.RED)], Node("c"))
    model = form_of(Model).convert({"my_x": 1, "points": [{"x": 1}], "inner": {"my_x": 2}})
    assert (model.points, model.inner.my_x) == ([P1], 2)
    array = np.zeros(2)
    struct = form_of(Struct).convert({"myX": 1, "point": {"x": 1}, "path": "a", "array": array})
    assert (struct.point, struct.path, struct.array is array) == (P1, Path("a"), True)
    many = form_of(collections.defaultdict[str, list[Point]]).convert({"a": [{"x": 1}]})
    assert (many["a"], many["b"]) == ([P1], [])
    assert form_of(abc.Iterator[Point]).convert([{"x": 1}]) == [P1]


AS_IT_IS: list[Any] = [
    *(int, float, str, bool, bytes, complex, None, object, Any, dict, list),
    *(list[int], dict[str, list[float]], int | None, Optional[str], Union[int, str]),
    *(UserId, Literal["a", 1], T, Number, type[int], abc.Callable[[int], str], "nowhere.Type"),
    *(
        np.ndarray,
        np.float64,
        Unknown,
        list[Unknown],
        abc.Hashable,
        abc.Sequence[int],
        abc.Iterator[int],
    ),
    *(Annotated[int, 3], typing.List, typing.Dict, ClassVar[int], list["Unknown"]),
    *(Odder, {"a": 1}, 3, ...),
]


@pytest.mark.parametrize("annotation", AS_IT_IS)
@pytest.mark.parametrize("value", [None, 1, "a", [1], {"a": [None]}])
def test_what_restores_nothing_is_not_looked_at(annotation: Any, value: Any) -> None:
    assert not form_of(annotation).restores

    def function(row: Any) -> Any:
        return row

    function.__annotations__ = {"row": annotation, "return": annotation}
    assert functions.of_item(function) is None
    assert functions.of_call(function) is None
    assert functions.of_result(function, "item") is None


FAILS: list[tuple[Any, Any, str]] = [
    (Point, None, "payload: Point expected, not None"),
    (Point, [1], "payload: Point expected, not a list of 1"),
    (Point, {}, "payload.x: it is missing, and Point needs it"),
    (Point, {"X": 1}, 'payload.x: it is missing, and Point needs it; is "X" meant for it?'),
    (Point, {"x": None}, "payload.x: float expected, not None"),
    (Point, {"x": "1"}, 'payload.x: float expected, not the str "1"'),
    (Point, {"x": 1, "y": [1]}, "payload.y: float expected, not a list of 1"),
    (Node, {"name": "a", "kids": [{}]}, "payload.kids[0].name: it is missing, and Node needs it"),
    (
        Node,
        {"name": "a", "colour": "grey"},
        'payload.colour: a Colour expected, not the str "grey"; there are "red", (\'b\', 1)',
    ),
    (Odd, {"a": -1}, "payload: Odd refused its fields: ValueError: a is 0 or more"),
    (Box[Point], {"value": {"x": "a"}}, 'payload.value.x: float expected, not the str "a"'),
    (Whole, {"point": {"x": 1}}, 'payload["n"]: it is missing, and Whole needs it'),
    (Whole, {"n": 1, "point": {}}, 'payload["point"].x: it is missing, and Point needs it'),
    (Pair, [1], "payload: Pair has 3 fields, not 1"),
    (Pair, [1, {"x": 1}, "q"], 'payload.more: int expected, not the str "q"'),
    (Pair, {"left": 1}, "payload.point: it is missing, and Pair needs it"),
    (Shop, {"_id": "a"}, 'payload._id: int expected, not the str "a"'),
    (Checked, {"n": 0}, "payload.n: Input should be greater than 0"),
    (Strict, {"colour": "red", "n": "3"}, "payload.n: Input should be a valid integer"),
    (Struct, {"myX": 1, "point": {"x": "k"}}, "payload.point.x: Expected `float`, got `str`"),
    (Struct, {}, "payload: Object missing required field `myX`"),
    (date, "tomorrow", 'payload: a date expected, not the str "tomorrow"'),
    (UUID, 3, "payload: UUID expected, not the int 3"),
    (Path, b"a", "payload: Path expected, not the bytes b'a'"),
    (timedelta, 3, "payload: timedelta expected, not the int 3"),
    (list[Point], [{"x": 1}, 3], "payload[1]: Point expected, not the int 3"),
    (dict[str, Point], {"a": {}}, 'payload["a"].x: it is missing, and Point needs it'),
    (dict[str, Point], {1: {"x": 1}}, "payload[1]: str expected, not the int 1"),
    (set[Point], [{"x": 1}], "payload: a set[Point] can't be made of these: TypeError: "),
    (tuple[int, int], [1], "payload: tuple[int, int] expected, not a list of 1"),
    (tuple[int, ...], [1, "a"], 'payload[1]: int expected, not the str "a"'),
    (Point | None, 3, "payload: Point | None expected, not the int 3"),
    (Point | int, "a", 'payload: Point | int expected, not the str "a"'),
    (
        Circle | Square,
        {"kind": "oval"},
        'payload: it is none of Circle | Square: Circle.kind: one of "circle" expected, not '
        'the str "oval"; Square.kind: one of "square" expected, not the str "oval"',
    ),
    (Literal[Colour.RED], "blue", "payload: one of <Colour.RED: 'red'> expected, not the str "),
]


@pytest.mark.parametrize(("annotation", "value", "why"), FAILS)
def test_a_value_that_does_not_fit(annotation: Any, value: Any, why: str) -> None:
    def function(row: Any) -> None: ...

    function.__annotations__ = {"row": annotation}
    convert = functions.of_item(function)
    assert convert is not None
    with pytest.raises(PayloadError) as failure:
        convert(value)
    assert str(failure.value).startswith(why)


def test_the_errors_of_pydantic_keep_their_place() -> None:
    value = {"my_x": 1, "points": [{"x": 1}, {"x": "far"}]}
    with pytest.raises(Mismatch) as failure:
        form_of(Model).convert(value)
    assert failure.value.path == ".points[1].x"
    with pytest.raises(Mismatch, match=r"\(and 1 more\)"):
        form_of(Model).convert({"my_x": "a", "points": 3})


def test_what_nests_deeper_than_python_may_recurse() -> None:
    value: Any = {"name": "a"}
    for _ in range(900):
        value = {"name": "a", "kids": [value]}

    def function(node: Node) -> None: ...

    convert = functions.of_item(function)
    assert convert is not None
    with pytest.raises(PayloadError, match="nests deeper than Python may recurse"):
        convert(value)


def test_classes_within_a_function_that_know_only_each_other() -> None:
    @dataclass
    class Inner:
        n: int

    @dataclass
    class Outer:
        inner: Inner
        others: list[Outer]
        lost: Nowhere | None  # type: ignore[name-defined]  # noqa: F821

    def function(row: Outer, more: Inner | None = None) -> Inner:
        return row.inner

    convert = functions.of_item(function)
    assert convert is None, "nothing says where Outer is"
    form = form_of(Outer)
    made = form.convert({"inner": {"n": 1}, "others": [], "lost": 3})
    # Inner is a name of the function that made the class, which is over.
    assert made == Outer({"n": 1}, [], 3)  # type: ignore[arg-type]
    assert any("Nowhere" in why for why in form.unread)


def test_a_function_that_closes_over_its_types() -> None:
    @dataclass
    class Inner:
        n: int

    def function(row: Inner) -> Inner:
        return Inner(row.n)

    convert = functions.of_item(function)
    assert convert is not None
    assert convert({"n": 1}) == Inner(1)


class Duck:
    x, y = 1.0, 2.0


@pytest.mark.parametrize(
    "annotation",
    [
        *(Point, Colour, Path, date, Decimal, Pair, Fields, Model, Struct, Point | int, Name),
        *(set[int], tuple[int, int], Literal[Colour.RED], bytearray, dict[str, Point]),
        collections.Counter[str],
    ],
)
def test_an_object_that_is_no_data_is_taken_as_it_is(annotation: Any) -> None:
    duck = Duck()
    assert form_of(annotation).convert(duck) is duck
    assert form_of(list[annotation]).convert([duck]) == [duck]
    assert form_of(annotation | None).convert(duck) is duck


def test_a_function_that_nobody_has_any_more_is_not_kept() -> None:
    def function(row: Any) -> None: ...

    function.__annotations__ = {"row": Point, "return": Point}
    assert functions.of_item(function) is not None
    assert functions.of_result(function, "item") is not None
    assert takes(function).what == "item"
    held = weakref.ref(function)
    del function
    gc.collect()
    assert held() is None


class Methods:
    def method(self, row: Point) -> Point:
        return row

    @classmethod
    def of_class(cls, row: Point) -> Point:
        return row

    @staticmethod
    def plain(row: Point) -> Point:
        return row

    def __call__(self, row: Point) -> Point:
        return row


def with_first(first: int, row: Point, *more: Point, key: Key, **rest: Colour) -> Point:
    return row


async def later(row: Point) -> list[Point]:
    return [row]


def spread(*rows: Point) -> Point:
    return rows[0]


def awaited(row: int) -> abc.Awaitable[list[Point]]:
    return later(P1)


class TestFunctions:
    @pytest.mark.parametrize(
        "function", [Methods().method, Methods.of_class, Methods.plain, Methods(), spread, later]
    )
    def test_of_each_kind(self, function: Any) -> None:
        convert = functions.of_item(function)
        assert convert is not None
        assert convert({"x": 1}) == P1

    def test_that_are_partial(self) -> None:
        import functools

        convert = functions.of_item(functools.partial(with_first, 3))
        assert convert is not None
        assert convert({"x": 1}) == P1

    def test_that_decorators_have_wrapped(self) -> None:
        import functools

        @functools.wraps(later)
        def wrapper(*given: Any) -> Any:
            return later(*given)

        convert = functions.of_item(wrapper)
        assert convert is not None
        assert convert({"x": 1}) == P1

    def test_get_each_argument_as_it_is_said(self) -> None:
        arguments = functions.of_call(with_first)
        assert arguments is not None
        assert arguments.listed([1, {"x": 1}, {"x": 2}, {"x": 1}]) == [1, P1, P2, P1]
        named = {"key": {"id": 1}, "row": {"x": 1}, "other": "red"}
        made = {"key": Key(1), "row": P1, "other": Colour.RED}
        assert arguments.named(named) == made
        with pytest.raises(PayloadError, match=r'kwargs\["other"\]: a Colour expected'):
            arguments.named({"other": 3})

    @pytest.mark.parametrize("function", [later, awaited])
    def test_that_are_coroutines_give_what_comes_of_them(self, function: Any) -> None:
        convert = functions.of_result(function, "item")
        assert convert is not None
        assert convert([{"x": 1}]) == [P1]
        convert = functions.of_result(function, "list")
        assert convert is not None
        assert convert({"x": 1}) == P1

    @pytest.mark.parametrize("function", [len, print, int, Point, "module:name", None, str.upper])
    def test_that_say_nothing(self, function: Any) -> None:
        assert functions.of_result(function, "item") is None
        if callable(function):
            assert functions.of_item(function) is None
            assert functions.of_list(function) is None
            assert functions.of_call(function) is None
            assert functions.called(function) is function

    def test_that_can_not_be_hashed(self) -> None:
        class Unhashable(Methods):
            __hash__ = None  # type: ignore[assignment]

        convert = functions.of_item(Unhashable())
        assert convert is not None
        assert convert({"x": 1}) == P1


@pytest.mark.parametrize(
    "annotation",
    [
        *(list[Point], abc.Sequence[Point], abc.Iterable[Point], tuple[Point, ...]),
        *(abc.Iterator[Point], abc.Generator[Point, None, None], abc.AsyncIterator[Point]),
        *(abc.AsyncGenerator[Point, None], typing.List[Point], Points),
        *(Annotated[list[Point], 1], list[Point] | tuple[Point, ...], Optional[list[Point]]),
    ],
)
def test_what_each_of_several_is(annotation: Any) -> None:
    def function(rows: Any) -> Any: ...

    function.__annotations__ = {"rows": annotation, "return": annotation}
    for convert in (functions.of_list(function), functions.of_result(function, "list")):
        assert convert is not None
        assert convert({"x": 1}) == P1


if sys.version_info >= (3, 12):

    def test_types_with_parameters_of_their_own() -> None:
        space: dict[str, Any] = {"Point": Point, "dataclass": dataclass, "__name__": __name__}
        source = """
type Maybe[T] = T | None
type Tree = Point | list[Tree]
type Json = dict[str, Json] | list[Json] | str | None
@dataclass
class New[T]:
    value: T
    more: Maybe[T] = None
def function[T: Point](row: T, rest: Maybe[Point]) -> list[Maybe[Point]]: ...
"""
        exec(compile(source, "new.py", "exec", dont_inherit=True), space)
        assert form_of(space["Maybe"][Point]).convert({"x": 1}) == P1
        assert form_of(space["Tree"]).convert([{"x": 1}, [{"x": 2}]]) == [P1, [P2]]
        assert not form_of(space["Json"]).restores
        made = form_of(space["New"][Point]).convert({"value": {"x": 1}, "more": {"x": 2}})
        assert (made.value, made.more) == (P1, P2)
        arguments = functions.of_call(space["function"])
        assert arguments is not None
        assert arguments.listed([{"x": 1}, {"x": 2}]) == [P1, P2]


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
points = st.builds(Point, st.floats(allow_nan=False), st.integers())
nodes = st.recursive(
    st.builds(Node, st.text(), colour=st.sampled_from([None, *Colour])),
    lambda inner: st.builds(Node, st.text(), st.lists(inner, max_size=3)),
    max_leaves=8,
)


def as_data(value: Any) -> Any:
    """Return what the protocol makes of a record."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: as_data(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return as_data(value.value)
    if isinstance(value, list):
        return [as_data(one) for one in value]
    return value


@settings(deadline=None)
@given(points | nodes)
def test_a_record_there_and_back_is_the_same(value: Any) -> None:
    assert form_of(type(value)).convert(as_data(value)) == value


@settings(deadline=None)
@given(st.recursive(plain, lambda part: st.lists(part) | st.dictionaries(plain, part)))
def test_any_data_fit_or_are_a_mismatch(value: Any) -> None:
    for annotation in (Point, Node, Shop, Struct, Model, Pair, Fields, Circle | Square | int):
        with contextlib.suppress(Mismatch):
            form_of(annotation).convert(value)
