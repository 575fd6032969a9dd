"""What is said of a value that can't be sent is true: who follows it can send the value."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import ipaddress
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from slither._errors import EncodeError
from slither._wire.codec import decode, encode

UTC = datetime.timezone.utc


class NaTType(datetime.datetime):
    """Like pandas' value for no time: a datetime that can't be asked for its offset."""

    def utcoffset(self) -> datetime.timedelta | None:
        raise ValueError("NaTType does not support utcoffset")


@dataclasses.dataclass
class Point:
    x: int


class Color(enum.Enum):
    RED = 1


def letters() -> Iterator[str]:
    yield from "ab"


Way = Callable[[Any], object]
AS_STR: tuple[str, Way] = ("send str()", str)
AS_LIST: tuple[str, Way] = ("make it a list", list)
TOLIST: tuple[str, Way] = (r"call \.tolist\(\)", lambda value: value.tolist())
RECORD = np.zeros(1, [("a", "i4"), ("b", "f8")])

FOLLOWED: list[tuple[str, object, tuple[str, Way]]] = [
    ("set", {1}, AS_LIST),
    ("frozenset", frozenset({1}), AS_LIST),
    ("range", range(2), AS_LIST),
    ("deque", collections.deque([1]), AS_LIST),
    ("array", array.array("i", [1]), AS_LIST),
    ("dict_keys", {1: 2}.keys(), AS_LIST),
    ("dict_values", {1: 2}.values(), AS_LIST),
    ("dict_items", {1: 2}.items(), AS_LIST),
    ("map", map(str, [1]), AS_LIST),
    ("filter", filter(None, [1]), AS_LIST),
    ("zip", zip([1], [2], strict=True), AS_LIST),
    ("generator", letters(), AS_LIST),
    ("mappingproxy", types.MappingProxyType({1: 2}), ("make it a dict", dict)),
    ("date", datetime.date(2020, 1, 1), (r"\.isoformat\(\)", lambda value: value.isoformat())),
    ("time", datetime.time(1), (r"send \.isoformat\(\)", lambda value: value.isoformat())),
    (
        "timedelta",
        datetime.timedelta(1),
        (r"send \.total_seconds\(\)", lambda value: value.total_seconds()),
    ),
    (
        "naive datetime",
        datetime.datetime(2020, 1, 1),
        ("give it a timezone", lambda value: value.replace(tzinfo=UTC)),
    ),
    ("Decimal", decimal.Decimal("1.5"), (r"send float\(\) or", float)),
    ("Decimal", decimal.Decimal("1.5"), (r"or str\(\)", str)),
    ("Fraction", fractions.Fraction(1, 2), (r"send float\(\) or str\(\)", float)),
    ("complex", 1j, (r"send \[value\.real", lambda value: [value.real, value.imag])),
    ("UUID", uuid.UUID(int=1), (r"send str\(\) or", str)),
    ("UUID", uuid.UUID(int=1), (r"or \.bytes", lambda value: value.bytes)),
    ("BytesIO", io.BytesIO(b"a"), (r"send \.getvalue\(\)", lambda value: value.getvalue())),
    ("StringIO", io.StringIO("a"), (r"send \.getvalue\(\)", lambda value: value.getvalue())),
    ("PosixPath", pathlib.Path("/a"), AS_STR),
    ("PurePosixPath", pathlib.PurePosixPath("/a"), AS_STR),
    ("PureWindowsPath", pathlib.PureWindowsPath("/a"), AS_STR),
    ("IPv4Address", ipaddress.ip_address("127.0.0.1"), AS_STR),
    ("IPv6Address", ipaddress.ip_address("::1"), AS_STR),
    ("ZoneInfo", zoneinfo.ZoneInfo("UTC"), AS_STR),
    ("NaTType", NaTType(2020, 1, 1), ("send None", lambda _value: None)),
    ("Point", Point(1), (r"send dataclasses\.asdict\(value\)", dataclasses.asdict)),
    ("Color", Color.RED, (r"send \.value", lambda value: value.value)),
    ("datetime64", np.datetime64("2020"), AS_STR),
    (
        "datetime64",
        np.datetime64("2020"),
        (r"\.astype\('int64'\)", lambda value: value.astype("int64")),
    ),
    ("timedelta64", np.timedelta64(1, "s"), AS_STR),
    (
        "timedelta64",
        np.timedelta64(1, "s"),
        (r"\.astype\('int64'\)", lambda value: value.astype("int64")),
    ),
    (
        "complex64",
        np.complex64(1j),
        (r"send \[value\.real", lambda value: [value.real, value.imag]),
    ),
    ("complex128", np.complex128(1j), (r"send \[", lambda value: [value.real, value.imag])),
    ("longdouble", np.longdouble(1), (r"send float\(\)", float)),
    ("longdouble", np.longdouble(1), (r"or str\(\)", str)),
    ("void", RECORD[0], (r"send \.item\(\)", lambda value: value.item())),
    ("void", np.void(b"ab"), (r"send \.item\(\)", lambda value: value.item())),
    ("object", np.array([1, "a"], object), TOLIST),
    ("<U1", np.array(["a"]), TOLIST),
    (r"\|S1", np.array([b"a"]), TOLIST),
    (r"\|V2", np.array([b"ab"], "V2"), TOLIST),
    (
        "i4",
        RECORD,
        ("one array for each field", lambda value: [value[name] for name in value.dtype.names]),
    ),
    (
        "datetime64",
        np.array(["2020"], "datetime64[s]"),
        (r"\.astype\('int64'\)", lambda value: value.astype("int64")),
    ),
    (
        "float128",
        np.zeros(1, np.longdouble),
        (r"\.astype\('float64'\)", lambda value: value.astype("float64")),
    ),
    (
        "complex256",
        np.zeros(1, np.clongdouble),
        (r"\.astype\('complex128'\)", lambda value: value.astype("complex128")),
    ),
    (
        "masked array",
        np.ma.masked_array([1], [True]),
        (r"call \.filled\(value\)", lambda value: value.filled(0)),
    ),
]
if hasattr(np.dtypes, "StringDType"):
    FOLLOWED.append(("StringDType", np.array(["a"], np.dtypes.StringDType()), TOLIST))


@pytest.mark.parametrize(
    ("named", "value", "advice"),
    FOLLOWED,
    ids=[f"{named} {advice[0]}" for named, _value, advice in FOLLOWED],
)
def test_advice_that_is_given_works(named: str, value: object, advice: tuple[str, Way]) -> None:
    words, follow = advice
    with pytest.raises(EncodeError) as refused:
        encode(value)
    assert re.search(named, str(refused.value))
    assert re.search(words, str(refused.value))
    decode(encode(follow(value)))


def test_no_time_is_refused_with_its_path_as_a_key_and_as_a_value() -> None:
    none = NaTType(2020, 1, 1)
    for value, path in (([{"b": none}], r'value\[0\]\["b"\]: '), ({none: 1}, "value: the key ")):
        with pytest.raises(EncodeError, match=path + ".*send None"):
            encode(value)
