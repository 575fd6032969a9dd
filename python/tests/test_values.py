"""Values of the types that people have: what comes back, and what is refused."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import pickle
import subprocess
import sys
import uuid
import zoneinfo
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import attrs
import msgspec
import numpy as np
import pydantic
import pytest
from tagged import show

import slither
from slither import DecodeError, EncodeError, Tagged
from slither._types import Payload
from slither._wire.codec import Codec
from slither._wire.types import zones
from slither._wire.types.row import RefusedError
from slither._wire.types.zones import NamedOffset
from slither._wire.walk import encode_slowly
from slither.protocol import pack, unpack

pytestmark = pytest.mark.usefixtures("decoders")

UTC = datetime.timezone.utc
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NAN = float("nan")


class Color(enum.Enum):
    RED = "r"
    DEEP = ((1, decimal.Decimal("1.5")), 2**70)


class Level(enum.IntEnum):
    HIGH = 2**70


class Bits(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    inner: Any = None
    scale: dataclasses.InitVar[int] = 1
    count: ClassVar[int] = 0


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int


@attrs.define
class Attrs:
    a: int
    _b: int = 2


class Struct(msgspec.Struct, rename="camel"):
    first_name: str


class TaggedStruct(msgspec.Struct, tag="t"):
    a: int


class ArrayStruct(msgspec.Struct, array_like=True, tag=True):
    a: int


class Model(pydantic.BaseModel, extra="allow"):
    a: int
    inner: Any = None


@pydantic.dataclasses.dataclass
class ModelLike:
    a: int


class Pair(NamedTuple):
    a: int
    b: int


class Stamp(datetime.datetime):
    pass


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class Amount(decimal.Decimal):
    def __str__(self) -> str:
        return "another"


class Numbers(set[int]):
    pass


BECOMES: list[tuple[Payload, Payload]] = [
    (Color.RED, "r"),
    (Color.DEEP, ((1, decimal.Decimal("1.5")), 2**70)),
    (Level.HIGH, 2**70),
    (Bits.A | Bits.B, 3),
    (Point(1, [Point(2)]), {"x": 1, "inner": [{"x": 2, "inner": None}]}),
    (Slotted(1), {"a": 1}),
    (Attrs(1), {"a": 1, "_b": 2}),
    (Struct("x"), {"firstName": "x"}),
    (TaggedStruct(1), {"type": "t", "a": 1}),
    (ArrayStruct(1), ["ArrayStruct", 1]),
    (Model(a=1, inner=Color.RED, more=2), {"a": 1, "inner": "r", "more": 2}),  # type: ignore[call-arg]
    (ModelLike(1), {"a": 1}),
    (Pair(1, 2), (1, 2)),
    (Stamp(2024, 1, 2), datetime.datetime(2024, 1, 2)),
    (Text("t"), "t"),
    (Amount("1.50"), decimal.Decimal("1.50")),
    (Numbers([1]), {1}),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.Counter("aa"), {"a": 2}),
    (collections.defaultdict(list, {"a": [1]}), {"a": [1]}),
    (np.str_("a"), "a"),
    (np.bytes_(b"a"), b"a"),
    (np.complex64(1j), 1j),
    (np.float16(0.5), 0.5),
    ({Color.RED: Point(1)}, {"r": {"x": 1, "inner": None}}),
    ({Color.RED, 1}, {"r", 1}),
    (
        datetime.datetime(2024, 1, 2, tzinfo=zoneinfo.ZoneInfo("UTC")),
        datetime.datetime(2024, 1, 2, tzinfo=UTC),
    ),
]


@pytest.mark.parametrize(("value", "data"), BECOMES, ids=lambda one: str(one)[:30])
def test_objects_go_as_data(value: Payload, data: Payload) -> None:
    packed = pack([value])
    assert show(unpack(packed)) == show([data])
    assert encode_slowly([value], "value") == packed


SAME: list[Payload] = [
    datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=0),
    datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
    datetime.datetime(1, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
    decimal.Decimal("-0"),
    decimal.Decimal("1E+1000000"),
    decimal.Decimal("1.10"),
    decimal.Decimal("9" * 4_300),
    decimal.Decimal("-Infinity"),
    datetime.timedelta.max,
    datetime.timedelta.min,
    datetime.timedelta(microseconds=-1),
    datetime.date.min,
    datetime.date.max,
    datetime.datetime.min,
    datetime.datetime.max,
    datetime.time.max,
    complex(-0.0, float("inf")),
    uuid.UUID(int=0),
    pathlib.Path("/tmp/\udcff"),
    pathlib.PureWindowsPath("C:\\x\\é"),
    {(1, (2, frozenset({3}))): {(), frozenset()}},
    [(), [()], ([],)],
    {"a": ({"b": {1, 2}},), "c": Tagged("", (Tagged("x", None),))},
    {decimal.Decimal(1): 1, uuid.UUID(int=1): 2, Tagged("k", (1,)): 3},
]


@pytest.mark.parametrize("value", SAME, ids=lambda one: repr(one)[:40])
def test_what_comes_back_is_the_same(value: Payload) -> None:
    got = unpack(pack(value))
    assert show(got) == show(value)
    assert got == value
    assert encode_slowly(value, "value") == pack(value)


REFUSED: list[tuple[Payload, str]] = [
    ({NAN, -NAN}, "value: the element nan appears twice once it is sent"),
    (
        {decimal.Decimal("NaN"): 1, float("nan"): 2, decimal.Decimal("nan"): 3},
        "value: the key Decimal('NaN') app",
    ),
    ({complex(NAN): 1, complex(NAN): 2}, r"value: the key (nan+0j) appears twice"),
    ([{"a": {Color.RED: 1, "r": 2}}], 'value[0]["a"]: the key "r" appears twice'),
    ({Color.RED, "r"}, "value: the element "),
    ({(Color.RED,): 1, ("r",): 2}, "value: the key ("),
    (
        {Point(1): 1},
        "value: the key Point(x=1, inner=None): a Point can't be a key: it is sent as a",
    ),
    (
        {np.datetime64("2024"): 1},
        "value: the key np.datetime64('2024'): a datetime64 can't be a key",
    ),
    ({(np.timedelta64(1, "s"),)}, "value: the element (np.timedelta64(1,'s'),): a timedelta64"),
    (
        {"p": [Point(1, {"t": range(2)})]},
        'value["p"][0].inner["t"]: a range cannot be sent; make it a list',
    ),
    ([Tagged("a", [range(1)])], "value[0][0]: a range cannot be sent"),
    (Tagged(1, 2), "value: the name of a tagged value is a str, not an int"),  # type: ignore[arg-type]
    (
        decimal.Decimal("9" * 4_301),
        "value: a Decimal of 4301 digits cannot be sent; 4,300 is the limit",
    ),
    (decimal.Decimal("1E+1000001"), "value: a Decimal with the exponent 1000001 cannot be sent"),
    (decimal.Decimal("-sNaN"), "value: a signalling NaN cannot be sent; send Decimal('NaN')"),
    (datetime.time(1, tzinfo=UTC), "value: a time with a timezone cannot be sent"),
    (pathlib.PureWindowsPath("\ud800"), "value: a PureWindowsPath with a lone surrogate"),
    (
        Color,
        "value: an EnumType cannot be sent; send its name",
    ),
    (slither.BeamDied("x"), "value: a BeamDied cannot be sent; send str() or .args"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED, ids=[reason[:40] for _, reason in REFUSED])
def test_what_cannot_be_sent_says_why(value: Payload, reason: str) -> None:
    reason = reason.replace("EnumType", type(Color).__name__)
    with pytest.raises(EncodeError) as caught:
        pack(value)
    assert str(caught.value).startswith(reason)


class TestZones:
    def test_what_this_machine_does_not_know_goes_back_as_it_came(self) -> None:
        zone = NamedOffset("Mars/Olympus", 5_400, 0, "MMT")
        moment = datetime.datetime(2024, 1, 1, tzinfo=zone)
        got = unpack(pack(moment))
        assert got == moment
        assert (got.tzname(), got.utcoffset(), got.dst()) == (
            "MMT",
            datetime.timedelta(seconds=5_400),
            datetime.timedelta(0),
        )
        assert got.tzinfo == zone == pickle.loads(pickle.dumps(zone))
        assert hash(got.tzinfo) == hash(zone)
        assert repr(zone) == "<Mars/Olympus at MMT, 1:30:00 from UTC>"
        assert pack(got) == pack(moment)

    def test_another_offset_than_this_machine_finds_is_kept(self) -> None:
        moment = datetime.datetime(2024, 1, 1, tzinfo=NamedOffset("Europe/Berlin", 60, 0, "X"))
        got = unpack(pack(moment))
        assert type(got.tzinfo) is NamedOffset
        assert got == moment

    def test_the_name_of_a_zone_is_no_path(self) -> None:
        for name in (
            "../../etc/passwd",
            "/etc/passwd",
            "Europe",
            "x" * 255,
            "a\0b",
            "posixrules/",
        ):
            zone = NamedOffset(name, 60, 0, "")
            got = unpack(pack(datetime.datetime(2024, 1, 1, tzinfo=zone)))
            assert got.tzinfo == zone

    def test_zones_are_looked_for_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zones, "_unknown", set())
        monkeypatch.setattr(zones, "_MANY", 3)
        for n in range(5):
            moment = datetime.datetime(2024, 1, 1, tzinfo=NamedOffset(f"No/{n}", 60, 0, ""))
            assert unpack(pack(moment)) == moment
        assert zones._unknown == {"No/3", "No/4"}

    def test_other_libraries_zones_go_by_their_names(self) -> None:
        class Pytz(datetime.tzinfo):
            zone = "America/New_York"

            def utcoffset(self, _when: datetime.datetime | None) -> datetime.timedelta:
                return datetime.timedelta(hours=-5)

            def dst(self, _when: datetime.datetime | None) -> datetime.timedelta:
                return datetime.timedelta(0)

            def tzname(self, _when: datetime.datetime | None) -> str:
                return "EST"

        got = unpack(pack(datetime.datetime(2024, 1, 1, tzinfo=Pytz())))
        assert got == datetime.datetime(2024, 1, 1, tzinfo=Pytz())
        assert got.tzinfo is zoneinfo.ZoneInfo("America/New_York")

        Dateutil = type("tzfile", (Pytz,), {"zone": None, "__module__": "dateutil.tz"})
        for name in ("/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"):
            zone = Dateutil()
            zone._filename = name
            got = unpack(pack(datetime.datetime(2024, 1, 1, tzinfo=zone)))
            assert got.tzinfo.key == "Asia/Tokyo"


class Money:
    def __init__(self, cents: int, currency: str = "EUR") -> None:
        self.cents, self.currency = cents, currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.cents)


class Cents(Money):
    pass


def parts(money: Money) -> tuple[int, str]:
    if money.cents < 0:
        raise ValueError("in debt")
    return money.cents, money.currency


def made(of: tuple[int, str]) -> Money:
    if of[0] == 13:
        raise LookupError("unlucky")
    return Money(*of)


@pytest.fixture
def money() -> Iterator[None]:
    slither.register(Money, parts, made, name="test.Money")
    yield
    from slither._wire.types import table, tagged

    table._registered.pop(Money, None)
    tagged._names.pop("test.Money", None)
    table._begin()


@pytest.mark.usefixtures("money")
class TestRegister:
    def test_a_registered_type_comes_back(self) -> None:
        value = {"price": [Money(5), (Money(6, "USD"),)], Money(7): {Money(8)}}
        assert unpack(pack(value)) == value
        assert encode_slowly(value, "value") == pack(value)

    def test_a_subclass_is_another_type(self) -> None:
        with pytest.raises(
            EncodeError, match=r"a Cents cannot be sent; .* slither\.register its"
        ):
            pack(Cents(1))

    def test_two_that_are_sent_alike_are_no_two_keys(self) -> None:
        class Other(Money):
            __hash__ = object.__hash__

            def __eq__(self, other: object) -> bool:
                return self is other

        slither.register(Other, lambda _other: 1, lambda _data: Other(1), name="test.Other")
        with pytest.raises(EncodeError, match="appears twice once it is sent"):
            pack({Other(1): 1, Other(1): 2})

    def test_what_encode_raises_names_the_type_and_the_place(self) -> None:
        why = (
            r'^value\["m"\]\[0\]: what Money is registered with could not encode it: '
            r"ValueError: in debt$"
        )
        with pytest.raises(EncodeError, match=why):
            pack({"m": [Money(-1)]})

    def test_what_decode_raises_names_the_type(self) -> None:
        why = "^what Money is registered with could not decode a test.Money: LookupError: "
        with pytest.raises(DecodeError, match=why):
            unpack(pack([Money(13)]))

    def test_what_encode_gives_may_be_of_any_type(self) -> None:
        class Box:
            def __init__(self, held: object) -> None:
                self.held = held

        slither.register(Box, lambda box: [box.held], lambda held: Box(*held), name="test.Box")
        got = unpack(pack(Box(Box({Money(1)}))))
        assert got.held.held == {Money(1)}

    def test_a_name_that_nobody_knows_is_a_tagged_value_which_goes_back(self) -> None:
        got = unpack(pack([Tagged("test.Unknown", (1, Money(2)))]))
        assert got == [Tagged("test.Unknown", (1, Money(2)))]
        assert got[0].name == "test.Unknown"

    def test_a_name_is_of_one_type(self) -> None:
        class Other:
            pass

        with pytest.raises(ValueError, match=r"the name 'test\.Money' is that of <class"):
            slither.register(Other, vars, lambda _data: Other(), name="test.Money")
        slither.register(Money, parts, made, name="test.Money")

    def test_a_class_that_is_made_again_takes_its_place(self) -> None:
        def again() -> type:
            class Local:
                pass

            slither.register(Local, lambda _value: 1, lambda _data: Local())
            return Local

        first, second = again(), again()
        assert type(unpack(pack(second()))) is second
        assert type(unpack(pack(first()))) is second

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((1, vars, vars), "slither.register takes a type first, not 1"),
            ((Cents, 1, vars), "slither.register: encode is a function of one value"),
            ((Cents, vars, None), "slither.register: decode is a function of one value"),
            (
                (Cents, vars, vars, ""),
                "slither.register: name is a str that is not empty, not ''",
            ),
        ],
    )
    def test_wrong_arguments(self, arguments: Payload, message: str) -> None:
        kind, encode, decode, *name = arguments
        with pytest.raises(TypeError, match=message):
            slither.register(kind, encode, decode, **({"name": name[0]} if name else {}))

    def test_what_goes_as_it_is_can_not_be_registered(self) -> None:
        with pytest.raises(ValueError, match="int goes as it is; register a class derived"):
            slither.register(int, str, int)


def test_a_tagged_value_is_a_value() -> None:
    one = Tagged("a", [1])
    assert one == Tagged("a", [1]) != Tagged("b", [1])
    assert one != ("a", [1])
    assert repr(one) == "Tagged('a', [1])"
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError, match="can't be changed"):
        one.name = "b"
    with pytest.raises(AttributeError, match="can't be changed"):
        del one.value
    match one:
        case Tagged(name, value):
            assert (name, value) == ("a", [1])


class Pickles:
    """What carries values by value."""

    def __init__(self) -> None:
        self.wrapped: list[type] = []

    def begin(self) -> None:
        pass

    def wrap(self, value: object) -> bytes:
        self.wrapped.append(type(value))
        try:
            return b"S" * 32 + pickle.dumps(value)
        except Exception as error:
            raise RefusedError(f"no pickle: {error}") from error

    def unwrap(self, data: bytes) -> object:
        if data[:32] != b"S" * 32:
            raise DecodeError("not signed")
        return pickle.loads(data[32:])


class TestOpaque:
    def test_what_has_no_type_of_its_own_goes_opaque_and_comes_as_what_it_was(self) -> None:
        opaque = Pickles()
        codec = Codec(opaque)
        for value in (
            Color.RED,
            Point(1),
            Pair(1, 2),
            Level.HIGH,
            Text("t"),
            collections.Counter("ab"),
            collections.deque([1]),
            range(3),
            Money(1),
            {Color.RED: [Point(2)], Money(3): {Color.DEEP}},
            ValueError("x").args,
            np.float64(0.5),
            np.array([1, "a"], object).tolist(),
            datetime.time(1, tzinfo=UTC),
            "\ud800",
            decimal.Decimal("NaN7").as_tuple(),
        ):
            got = codec.decode(codec.encode([value]))
            assert got == [value]
            assert type(got[0]) is type(value)

    def test_what_has_a_type_goes_as_data(self) -> None:
        opaque = Pickles()
        codec = Codec(opaque)
        for value in SAME:
            assert codec.encode(value) == pack(value)
        assert opaque.wrapped == []

    def test_what_cannot_be_wrapped_goes_as_it_would_without(self) -> None:
        codec = Codec(Pickles())

        @dataclasses.dataclass
        class Local:
            a: int

        assert codec.decode(codec.encode(Local(1))) == {"a": 1}
        with pytest.raises(EncodeError, match=r"value\[0\]: no pickle: "):
            codec.encode([lambda: 1])

    def test_what_cannot_be_opened_is_refused(self) -> None:
        codec = Codec(Pickles())
        data = bytearray(codec.encode(Money(1)))
        data[5] = 0
        with pytest.raises(DecodeError, match="not signed"):
            codec.decode(data)

    def test_others_refuse_it_with_a_reason(self) -> None:
        data = Codec(Pickles()).encode({"a": Money(1)})
        with pytest.raises(
            DecodeError, match="a pickled value came, which only a program with by"
        ):
            unpack(data)

    def test_two_that_are_sent_alike_are_no_two_keys(self) -> None:
        with pytest.raises(EncodeError, match="appears twice"):
            Codec(Pickles()).encode({Blank(): 1, Blank(): 2})


class Blank:
    pass


def test_a_worker_imports_the_modules_of_types_when_it_needs_them() -> None:
    script = "import sys, slither._worker.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"decimal", "uuid", "zoneinfo", "numpy", "msgspec", "pyarrow"})


def test_values_come_without_numpy_as_well() -> None:
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from slither.protocol import pack, unpack\n"
        "for line in sys.stdin:\n"
        "    data = bytes.fromhex(line)\n"
        "    value = unpack(data)\n"
        "    assert type(value).__name__ == 'Tensor', value\n"
        "    assert pack(value) == data, value\n"
    )
    arrays = [
        np.array(["a", "bc"]),
        np.zeros((0, 2), "M8[ns]"),
        np.datetime64("2024"),
        np.zeros(2, [("a", "i4")]),
    ]
    lines = "\n".join(pack(array).hex() for array in arrays)
    subprocess.run([sys.executable, "-c", script], input=lines, text=True, check=True)
