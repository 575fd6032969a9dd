"""Long values with few parts, whose parts are looked at in place of their bytes."""

from __future__ import annotations

import math
from itertools import pairwise

import msgpack
import numpy as np
import pytest

from slither import DecodeError, EncodeError
from slither._types import Payload
from slither._wire.reading import LONG, is_plain
from slither.protocol import pack, unpack

pytestmark = pytest.mark.usefixtures("decoders")

# Every byte behind every other one, so that it looks like all that there is to look for.
PIXELS = bytes(byte for first in range(256) for second in range(256) for byte in (first, second))
TIMESTAMP = msgpack.packb(msgpack.Timestamp(1))


def test_the_pixels_look_like_everything() -> None:
    assert len(PIXELS) > LONG
    assert len(set(pairwise(PIXELS))) == 256 * 256


@pytest.mark.parametrize(
    "value",
    [
        PIXELS,
        [PIXELS, {"pixels": PIXELS, "size": [1, 2.5], 3: None, "deep": [[True]]}],
        [{1.5: PIXELS}],
        [(PIXELS, {PIXELS[:2]: 1})],
        [PIXELS, *range(5_000)],
    ],
)
def test_they_come_back_as_they_were(value: Payload) -> None:
    assert unpack(pack(value)) == value


def test_arrays_come_back_as_they_were() -> None:
    array = np.frombuffer(PIXELS, np.uint8)
    assert np.array_equal(unpack(pack({"array": array}))["array"], array)


@pytest.mark.parametrize(
    "data",
    [
        b"\x92" + msgpack.packb(PIXELS) + TIMESTAMP,
        b"\x92" + msgpack.packb([PIXELS, *range(5_000)]) + TIMESTAMP,
        b"\x82\x01" + msgpack.packb(PIXELS) + TIMESTAMP + b"\x02",
    ],
)
def test_a_timestamp_among_them_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="type -1"):
        unpack(data)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([PIXELS, msgpack.Timestamp(1)], r"value\[1\]"),
        ({"pixels": PIXELS, "keys": {math.nan: 1, -math.nan: 2}}, "the key nan appears twice"),
        ([PIXELS, {math.nan, -math.nan}], "the element nan appears twice"),
        ([PIXELS, *range(5_000), {math.nan: 1, -math.nan: 2}], "the key nan appears twice"),
    ],
)
def test_what_cannot_be_sent_is_refused_beside_them(value: Payload, problem: str) -> None:
    with pytest.raises(EncodeError, match=problem):
        pack(value)


def test_only_what_has_few_parts_of_known_types_is_looked_at() -> None:
    assert is_plain([{"a": PIXELS, "b": (1, 2.0)}, np.zeros(3)], LONG)
    assert not is_plain([0] * 1_000, LONG)
    assert not is_plain({number: 0 for number in range(1_000)}, LONG)
    assert not is_plain([{1.0: 0}], LONG)
    assert not is_plain([{1}], LONG)
    assert not is_plain([msgpack.Timestamp(1)], LONG)
