"""Random values of all types that are the same after both ways."""

from __future__ import annotations

import datetime
import decimal
import pathlib
import zoneinfo

import numpy as np
from hypothesis import strategies as st

from slither import Tagged
from slither._types import Payload

PLACES = (
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Cairo",
)
FIRST, LAST = datetime.datetime(2, 1, 1), datetime.datetime(9998, 12, 31)
text = st.text(st.characters(exclude_categories=["Cs"]))
offsets = st.integers(-86_399, 86_399).map(
    lambda seconds: datetime.timezone(datetime.timedelta(seconds=seconds))
)
zones = offsets | st.sampled_from(PLACES).map(zoneinfo.ZoneInfo)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), max_size=9)


def is_of_its_text(path: pathlib.PurePath) -> bool:
    """Tell whether a path's text is read as the path: that of PureWindowsPath("//0/") is not."""
    return type(path)(str(path)) == path


paths = st.lists(names, max_size=4).map(lambda parts: "/".join(parts) or ".")
decimals = st.decimals(allow_nan=False) | st.builds(
    lambda sign, digits, exponent: decimal.Decimal((sign, digits, exponent)),
    st.integers(0, 1),
    st.lists(st.integers(0, 9), max_size=40),
    st.integers(-1_000_000, 1_000_000),
)
keys_alone = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | text
    | st.binary()
    | st.datetimes(FIRST, LAST, timezones=zones)
    | st.datetimes().map(lambda moment: moment.replace(fold=0))
    | st.dates()
    | st.times().map(lambda moment: moment.replace(fold=0))
    | st.timedeltas()
    | decimals
    | st.just(decimal.Decimal("NaN"))
    | st.uuids()
    | st.complex_numbers()
    | paths.map(pathlib.Path)
    | paths.map(pathlib.PurePosixPath)
    | paths.map(pathlib.PureWindowsPath).filter(is_of_its_text)
)
arrays = st.sampled_from(
    [
        np.arange(6, dtype="<f4").reshape(2, 3),
        np.array(["2024-01-02T03:04:05.000006", "NaT"], "<M8[us]"),
        np.array([1, -1], "<m8[25ns]"),
        np.array([["a", "bcd"], ["", "é"]]),
        np.array([b"a", b"\0b"]),
        np.zeros(2, [("a", "<i4"), ("b", [("c", "<M8[D]"), ("d", "|S3", (2,))])]),
        np.array(7, "<U3"),
        np.zeros((0, 2), "|V5"),
        np.zeros(3, np.longdouble),
        np.datetime64("2024-01-02"),
        np.timedelta64(3, "h"),
        np.zeros(1, [("a", "<i2")])[0],
    ]
)


def has_nan(key: Payload) -> bool:
    if isinstance(key, tuple | frozenset):
        return any(map(has_nan, key))
    if isinstance(key, Tagged):
        return has_nan(key.value)
    return bool(key != key)  # noqa: PLR0124 - only a NaN differs from itself


def is_odd(key: Payload) -> bool:
    """Tell whether a moment in a zone is no instant that Python takes for the same elsewhere."""
    if isinstance(key, tuple | frozenset):
        return any(map(is_odd, key))
    if isinstance(key, Tagged):
        return is_odd(key.value)
    return (
        isinstance(key, datetime.datetime)
        and key.utcoffset() != key.replace(fold=not key.fold).utcoffset()
    )


def apart(value: dict[Payload, Payload] | set[Payload] | frozenset[Payload]) -> bool:
    """Tell whether all keys are others on BEAM, too."""
    return sum(map(has_nan, value)) < 2 and not any(map(is_odd, value))


keys = st.recursive(
    keys_alone,
    lambda inner: (
        st.tuples(inner, inner)
        | st.frozensets(inner, max_size=3).filter(apart)
        | st.builds(Tagged, text, inner)
    ),
    max_leaves=4,
)
values = st.recursive(
    keys | arrays,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys, inner, max_size=5).filter(apart)
        | st.sets(keys, max_size=5).filter(apart)
        | st.builds(Tagged, text, inner)
    ),
    max_leaves=20,
)
