"""Objects by value, within values that go as data."""

from __future__ import annotations

import collections
import dataclasses
import enum
import os
import pickle
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import slither
import slither.testing
from slither._seal import secret
from slither._types import Payload
from slither._wire import late
from slither._wire.codec import PLAIN, Codec
from slither._wire.objects import Objects
from slither._worker.by_value import objects

PATIENCE = 60


@pytest.fixture(scope="module")
def beam(escript: Path) -> Iterator[slither.Beam]:
    with slither.Beam(workers=2, by_value=True) as started:
        yield started


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


class Pair(NamedTuple):
    a: int
    b: int


class Color(enum.Enum):
    RED = 1


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.next = self


class Keys(dict[str, int]):
    pass


class Unopened:
    """Can be pickled, and not made again."""

    def __init__(self, how: str = "on purpose") -> None:
        self.how = how

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        if self.how == "exit":
            return sys.exit, (3,)
        if self.how == "die":
            return os.kill, (0, 0)
        return _refuse, (self.how,)


def _refuse(why: str) -> None:
    raise RuntimeError(why)


def echo(item: Payload) -> Payload:
    return item


def whole(items: list[Payload]) -> list[Payload]:
    return items


def typed(point: Point) -> Point:
    return Point(point.y, point.x)


OBJECTS = [
    Point(1, 2),
    Pair(1, 2),
    Color.RED,
    Keys(a=1),
    re.compile("a+"),
    collections.OrderedDict(a=1),
    range(3),
    slice(1, 2),
    ValueError("no"),
    Point,
    len,
    collections.Counter("aab"),
    collections.deque([1, 2]),
    object,
]


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_an_object_comes_back_as_what_it_was(beam: slither.Beam, value: object) -> None:
    for function in (echo, lambda item: item):
        [there] = beam.map(function, [value])
        assert type(there) is type(value)
        assert there == value or repr(there) == repr(value)
        back = beam.submit(function, value).result(PATIENCE)
        assert type(back) is type(value)


def test_objects_stand_wherever_values_do(beam: slither.Beam) -> None:
    value = {
        "list": [Point(1), {"deep": (Point(2), {3})}],
        "set": {Point(3), Point(4)},
        Point(5): "a key",
        "plain": [1, 2.5, "text", b"bytes", None],
    }
    assert beam.submit(echo, value).result(PATIENCE) == value
    assert list(beam.map(whole, [value, 1], each=False)) == [value, 1]
    assert beam.submit_with(dict, (), {"point": Point(6)}).result(PATIENCE) == {"point": Point(6)}
    assert list(beam.stream_call(lambda item: iter([item, 1]), Point(7))) == [Point(7), 1]
    assert beam.gather(echo)(Point(8)) == Point(8)
    session = beam.submit_with(echo, (Point(9),), session="objects")
    assert session.result(PATIENCE) == Point(9)
    assert list(beam.map(typed, [Point(1, 2)])) == [Point(2, 1)]
    with slither.Executor(beam=beam) as executor:
        assert list(executor.map(echo, [Point(1)] * 3, chunksize=2)) == [Point(1)] * 3


def test_what_is_one_object_stays_one(beam: slither.Beam) -> None:
    node = beam.submit(echo, Node("a")).result(PATIENCE)
    assert (node.name, node.next is node) == ("a", True)


def test_classes_that_only_this_process_has_come_back_as_themselves(beam: slither.Beam) -> None:
    @dataclasses.dataclass
    class Local:
        x: int

        def more(self) -> Local:
            return Local(self.x + 1)

    assert beam.submit(Local(1).more).result(PATIENCE) == Local(2)
    assert list(beam.map(lambda item: item.more(), [Local(1), Local(2)])) == [Local(2), Local(3)]
    assert beam.submit(lambda item: isinstance(item, Local), Local(1)).result(PATIENCE) is True


def test_exceptions_have_what_is_in_their_slots(beam: slither.Beam) -> None:
    class SlottedError(Exception):
        __slots__ = ("code",)

        def __init__(self, code: int) -> None:
            self.code = code

    def fails() -> None:
        raise SlottedError(4)

    with pytest.raises(SlottedError) as caught:
        beam.submit(fails).result(PATIENCE)
    assert caught.value.code == 4


def test_objects_that_a_class_makes_which_is_the_function_are_of_that_class(
    beam: slither.Beam,
) -> None:
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    [first, second] = beam.map(Local, [1, 2])
    made = beam.submit(Local, 3).result(PATIENCE)
    assert [type(one) for one in (first, second, made)] == [Local] * 3
    assert (first.x, second.x, made.x) == (1, 2, 3)
    assert beam.submit(lambda item: item.x, made).result(PATIENCE) == 3


def test_data_goes_as_data(beam: slither.Beam) -> None:
    """BEAM sees what it knows: only what the protocol has no type for is opaque."""
    table = beam.table("seen")
    table["a"] = {"n": 1, "point": Point(1)}
    assert table["a"] == {"n": 1, "point": Point(1)}
    table["b"] = 4
    assert beam.submit(lambda: slither.store.table("seen")["a"]["point"].x).result(PATIENCE) == 1
    beam.submit(_put, Point(7)).result(PATIENCE)
    assert table["c"] == Point(7)
    rate = slither.Pipe("rate").beam("rate", slither.item["n"] + 1)
    assert beam.run(rate, [{"n": 1, "o": Point(1)}])["default"] == [2]


def _put(value: object) -> None:
    slither.store.table("seen")["c"] = value


class TestFailures:
    def test_what_cannot_be_pickled_fails_its_own_item(self, beam: slither.Beam) -> None:
        lock = threading.Lock()
        with pytest.raises(slither.EncodeError, match=r'args\[0\]\["a"\]: a lock .*TypeError'):
            beam.submit(echo, {"a": lock}).result(PATIENCE)
        fine, failed, last = beam.map(echo, [1, [lock], 3], on_error="return")
        assert (fine, last) == (1, 3)
        assert "items[1][0]: a lock cannot be sent by value: TypeError" in str(failed)
        with pytest.raises(slither.EncodeError, match="result: a lock cannot be sent by value"):
            beam.submit(threading.Lock).result(PATIENCE)

    @pytest.mark.parametrize("how", ["on purpose", "exit"])
    @pytest.mark.parametrize("function", [echo, whole])
    @pytest.mark.parametrize("limit", [None, 30])
    def test_what_cannot_be_opened_there_fails_its_own_item(
        self, beam: slither.Beam, how: str, function: Callable[..., object], limit: int | None
    ) -> None:
        items = [1, {"a": Unopened(how)}, Point(3)]
        results = list(
            beam.map(function, items, on_error="return", batch_size=3, item_timeout=limit)
        )
        assert (results[0], results[2]) == (1, Point(3))
        assert isinstance(results[1], RuntimeError | slither.HandlerError)
        with pytest.raises((RuntimeError, SystemExit)):
            beam.submit(echo, Unopened(how)).result(PATIENCE)
        assert beam.submit(echo, 1).result(PATIENCE) == 1

    @pytest.mark.parametrize("how", ["on purpose", "exit"])
    def test_what_cannot_be_opened_here_fails_its_own_item(
        self, beam: slither.Beam, how: str
    ) -> None:
        def go(item: int) -> object:
            return Unopened(how) if item == 1 else item

        with pytest.raises(slither.DecodeError, match="a value by value could not be opened"):
            beam.submit(go, 1).result(PATIENCE)
        results = list(beam.map(go, range(3), on_error="return", batch_size=3))
        assert isinstance(results[1], slither.DecodeError)
        assert (results[0], results[2]) == (0, 2)
        assert list(beam.map(go, range(3), on_error="skip", batch_size=3)) == [0, 2]
        got: list[object] = []
        with pytest.raises(slither.DecodeError):
            got.extend(beam.map(go, range(3), batch_size=3))
        with pytest.raises(slither.DecodeError):
            list(beam.stream_call(lambda: iter([Unopened()])))
        with pytest.raises(slither.RunError, match="could not be opened"):
            beam.run(slither.Pipe("p").python("echo", returned), [1])

    def test_a_death_in_opening_is_that_of_its_call(self, beam: slither.Beam) -> None:
        class Deadly:
            def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
                return _die, ()

        good = [beam.submit(echo, Point(1)) for _ in range(5)]
        bad = beam.submit(echo, Deadly())
        with pytest.raises(slither.WorkerDied):
            bad.result(PATIENCE)
        assert [future.result(PATIENCE) for future in good] == [Point(1)] * 5


def returned(_item: int) -> object:
    return Unopened()


def _die() -> None:
    os.kill(os.getpid(), 9)


class TestClosed:
    def test_others_refuse_them(self, beam: slither.Beam) -> None:
        packed = Codec(objects(secret())).encode([1, Point(1)])
        with pytest.raises(slither.DecodeError, match="a pickled value came, which only"):
            PLAIN.decode(packed)

    def test_nobody_opens_what_another_has_signed(self) -> None:
        ours, theirs = objects(secret()), objects(secret())
        packed = Codec(theirs).encode({"a": Point(1)})
        got = Codec(ours).decode(packed)
        with pytest.raises(
            slither.DecodeError, match="an object went by value, and its signature"
        ):
            late.made(got)
        assert late.made(Codec(theirs).decode(packed)) == {"a": Point(1)}

    def test_to_decode_opens_nothing(self) -> None:
        ours = objects(secret())
        codec = Codec(ours)
        got = codec.decode(codec.encode({"a": [Unopened()]}))
        assert late.met()
        with pytest.raises(RuntimeError, match="on purpose"):
            late.made(got)

    def test_no_pickle_is_read_that_is_not_signed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ours = objects(secret())
        codec = Codec(ours)
        read: list[object] = []
        monkeypatch.setattr(pickle, "loads", read.append)
        packed = bytearray(codec.encode(Point(1)))
        for at in range(4, len(packed)):
            changed = bytes(packed[:at]) + bytes([packed[at] ^ 1]) + bytes(packed[at + 1 :])
            with pytest.raises(slither.DecodeError):
                late.made(codec.decode(changed))
        assert read == []

    def test_a_signature_is_for_one_purpose(self) -> None:
        ours: Objects = objects(secret())
        sealed = ours.sealed("start", (os.getpid, ()))
        with pytest.raises(slither.DecodeError):
            ours.unsealed("value", sealed, "an object")


def test_a_beam_without_it_says_how_to_get_it(escript: Path) -> None:
    with (
        slither.Beam(1) as plain,
        pytest.raises(slither.EncodeError, match=r"a Node cannot be sent"),
    ):
        plain.submit(echo, Node("a")).result(PATIENCE)


class TestClasses:
    """Of classes that only the program has, the code goes once for the values of a frame."""

    def test_objects_of_them_are_short(self, beam: slither.Beam) -> None:
        @dataclasses.dataclass
        class Local:
            x: int

        items = [Local(number) for number in range(2_000)]
        assert len(beam._link.codec.encode(items)) < 250 * len(items)
        assert list(beam.map(lambda item: item, items)) == items
        assert (
            beam.submit(lambda items: [Local(item.x) for item in items], items).result(PATIENCE)
            == items
        )

    def test_their_code_is_that_of_the_moment(self, beam: slither.Beam) -> None:
        space: dict[str, Payload] = {"__name__": "__main__"}
        exec("def helper(): return 1\nclass Odd:\n    def get(self): return helper()", space)
        odd = space["Odd"]()
        assert beam.submit(lambda item: item.get(), odd).result(PATIENCE) == 1
        exec("def helper(): return 2", space)
        assert beam.submit(lambda item: item.get(), odd).result(PATIENCE) == 2
        space["Odd"].get = lambda self: 3
        assert list(beam.map(lambda item: item.get(), [odd] * 3)) == [3] * 3

    def test_two_beams_do_not_mix_them_up(self, escript: Path) -> None:
        def made(beam: slither.Beam, number: int) -> object:
            class Local:
                def get(self) -> int:
                    return number

            local = Local()
            back = beam.submit(lambda item: item, local).result(PATIENCE)
            assert type(back) is Local
            # This process may have had a worker's half, too, as tests have it.
            objects(secret())
            return beam.submit(lambda item: item.get(), local).result(PATIENCE)

        with slither.Beam(1, by_value=True) as one, slither.Beam(1, by_value=True) as other:
            assert [made(one, 1), made(other, 2), made(one, 3)] == [1, 2, 3]

    def test_they_reach_workers_that_start_later(self, beam: slither.Beam) -> None:
        class Local:
            pass

        table = beam.table("kept")
        table["a"] = Local()
        beam.restart()
        assert (
            beam.submit(lambda: type(slither.store.table("kept")["a"])).result(PATIENCE) is Local
        )


class TestPipes:
    """BEAM looks into the values of pipes: what can go as data does."""

    def test_what_a_stage_gives_is_data_where_it_can_be(self, beam: slither.Beam) -> None:
        pipe = (
            slither.Pipe("points")
            .python("point", point)
            .beam("x", {"x": slither.item["x"], "color": slither.item["color"]})
        )
        assert beam.run(pipe, [1, 2])["default"] == [{"x": 1, "color": 1}, {"x": 2, "color": 1}]

    def test_what_has_no_type_goes_through(self, beam: slither.Beam) -> None:
        pipe = slither.Pipe("nodes").python("make", Node).python("name", name_of)
        assert beam.run(pipe, ["a", "b"])["default"] == ["a", "b"]


@dataclasses.dataclass
class Colored:
    x: int
    color: Color


def point(x: int) -> Colored:
    return Colored(x, Color.RED)


def name_of(node: Node) -> str:
    return node.name


class TestPipesByValue:
    def test_stages_take_functions_by_value(self, beam: slither.Beam) -> None:
        factor = 3
        inner = slither.Pipe("inner", by_value=True).python("add", lambda item: item + 1)
        pipe = (
            slither.Pipe("outer", by_value=True)
            .python("times", lambda item: item * factor)
            .pipe("inner", inner)
            .python("all", lambda items: [item * 10 for item in items], each=False)
        )
        assert beam.run(pipe, [1, 2])["default"] == [40, 70]
        assert list(beam.stream(pipe, [3])) == [("default", 100)]
        assert slither.testing.run_pipe(pipe, [1, 2])["default"] == [40, 70]

    def test_others_refuse_them(self, escript: Path) -> None:
        pipe = slither.Pipe("p", by_value=True).python("x", lambda item: item)
        with pytest.raises(
            slither.PipeError, match=r"test_objects.*only a slither.Beam\(by_value"
        ):
            pipe.document()
        with slither.Beam(1) as plain, pytest.raises(slither.NotImportable, match="a lambda has"):
            plain.run(pipe, [1])
        with pytest.raises(slither.PipeError, match="a lambda has no name"):
            slither.Pipe("p").python("x", lambda item: item)
