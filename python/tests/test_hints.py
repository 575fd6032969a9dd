"""What is said of a value that can't be sent is true: who follows it can send the value."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import functools
import io
import ipaddress
import itertools
import pathlib
import re
import sqlite3
import threading
import types
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np
import pytest

import slither
from slither._errors import EncodeError
from slither._wire.codec import decode, encode

UTC = datetime.timezone.utc


class NaTType(datetime.datetime):
    """Like pandas' value for no time: a datetime that can't be asked for its offset."""

    def utcoffset(self) -> datetime.timedelta | None:
        raise ValueError("NaTType does not support utcoffset")


class Stamp(datetime.datetime):
    """Like pandas' datetime."""

    nanosecond = 5


class Mine:
    pass


DB = sqlite3.connect(":memory:")
DB.row_factory = sqlite3.Row
ROW = DB.execute("select 1 as a").fetchone()


class Bucket(pathlib.PurePosixPath):
    pass


def letters() -> Iterator[str]:
    yield from "ab"


Way = Callable[[Any], object]
AS_STR: tuple[str, Way] = ("send str()", str)
AS_LIST: tuple[str, Way] = ("make it a list", list)
TOLIST: tuple[str, Way] = (r"call \.tolist\(\)", lambda value: value.tolist())


def registered(value: Mine) -> Mine:
    slither.register(type(value), vars, lambda _fields: Mine(), name="test_hints.Mine")
    return value


def made_utc(value: datetime.datetime) -> datetime.datetime:
    return datetime.datetime.fromisoformat(value.isoformat())


FOLLOWED: list[tuple[str, object, tuple[str, Way]]] = [
    ("range", range(2), AS_LIST),
    ("deque", collections.deque([1]), AS_LIST),
    ("array", array.array("i", [1]), AS_LIST),
    ("dict_keys", {1: 2}.keys(), AS_LIST),
    ("dict_values", {1: 2}.values(), AS_LIST),
    ("dict_items", {1: 2}.items(), AS_LIST),
    ("map", map(str, [1]), AS_LIST),
    ("filter", filter(None, [1]), AS_LIST),
    ("zip", zip([1], [2], strict=True), AS_LIST),
    ("UserList", collections.UserList([1]), AS_LIST),
    ("UserString", collections.UserString("a"), AS_STR),
    ("UserDict", collections.UserDict(a=1), ("make it a dict", dict)),
    ("islice", itertools.islice([1], 1), AS_LIST),
    ("generator", letters(), AS_LIST),
    ("a slice", slice(1), (r"\[start, stop, step\]", lambda _: [None, 1, None])),
    ("SimpleNamespace", types.SimpleNamespace(a=1), (r"send vars\(\)", vars)),
    ("a ValueError", ValueError(1), (r"send str\(\)", str)),
    ("a ValueError", ValueError(1), (r"or \.args", lambda value: value.args)),
    ("Int32DType|dtype", np.dtype("i4"), AS_STR),
    ("a type", Mine, ("send its name", lambda value: value.__name__)),
    ("mappingproxy", types.MappingProxyType({1: 2}), ("make it a dict", dict)),
    ("ChainMap", collections.ChainMap({1: 2}), ("make it a dict", dict)),
    (
        "a time with a timezone",
        datetime.time(1, tzinfo=UTC),
        (r"send \.isoformat\(\)", lambda value: value.isoformat()),
    ),
    (
        "a time with a timezone",
        datetime.time(1, tzinfo=UTC),
        ("or a datetime", lambda value: datetime.datetime.combine(datetime.date.min, value)),
    ),
    (
        "nanoseconds",
        Stamp(2020, 1, 1),
        ("round it to microseconds", made_utc),
    ),
    (
        "signalling NaN",
        decimal.Decimal("sNaN"),
        (r"Decimal\('NaN'\)", lambda _: decimal.Decimal("NaN")),
    ),
    (
        "a payload",
        decimal.Decimal("NaN7"),
        (r"Decimal\('NaN'\)", lambda _: decimal.Decimal("NaN")),
    ),
    (
        r"msgpack\.Timestamp",
        msgpack.Timestamp(1, 5_000),
        (r"send \.to_datetime\(\)", lambda value: value.to_datetime()),
    ),
    ("Fraction", fractions.Fraction(1, 2), (r"send float\(\) or str\(\)", float)),
    ("Fraction", fractions.Fraction(1, 2), (r"or str\(\)", str)),
    ("BytesIO", io.BytesIO(b"a"), (r"send \.getvalue\(\)", lambda value: value.getvalue())),
    ("StringIO", io.StringIO("a"), (r"send \.getvalue\(\)", lambda value: value.getvalue())),
    ("a Pattern", re.compile("a"), (r"send \.pattern", lambda value: value.pattern)),
    ("IPv4Address", ipaddress.ip_address("127.0.0.1"), AS_STR),
    ("IPv6Network", ipaddress.ip_network("::/64"), AS_STR),
    ("ZoneInfo", zoneinfo.ZoneInfo("UTC"), AS_STR),
    ("Bucket", Bucket("/a"), AS_STR),
    ("NaTType", NaTType(2020, 1, 1), ("send None", lambda _value: None)),
    ("Mine", Mine(), (r"slither\.register its type", registered)),
    ("Row", ROW, ("make it a dict", dict)),
    ("object", np.array([1, "a"], object), TOLIST),
    (
        "object",
        np.array([1, 2], object),
        ("give it a number type", lambda value: value.astype("int64")),
    ),
    (
        "masked array",
        np.ma.masked_array([1], [True]),
        (r"call \.filled\(value\)", lambda value: value.filled(0)),
    ),
    (
        "a dtype|of dtype",
        np.zeros(1, np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]})),
        ("one array for each field", lambda value: [value[name].copy() for name in "ab"]),
    ),
    (
        "a surrogate|lone surrogate",
        "\ud800",
        ("send bytes", lambda value: value.encode("utf-8", "surrogatepass")),
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


@pytest.mark.parametrize("value", [letters, len, "".join, functools.partial(letters)])
def test_code_is_refused_with_what_carries_it(value: object) -> None:
    with pytest.raises(
        EncodeError, match=r"only slither\.Beam\(by_value=True\) carries such obj"
    ):
        encode(value)


def test_no_time_is_refused_with_its_path_as_a_key_and_as_a_value() -> None:
    none = NaTType(2020, 1, 1)
    for value, path in (([{"b": none}], r'value\[0\]\["b"\]: '), ({none: 1}, "value: the key ")):
        with pytest.raises(EncodeError, match=path + ".*send None"):
            encode(value)


@pytest.mark.parametrize("value", [DB, threading.Lock()])
def test_what_is_of_one_process_is_to_be_made_in_the_worker(value: object) -> None:
    with pytest.raises(EncodeError, match=r"make one in the worker, .*slither\.worker\.on_start"):
        encode(value)
