from __future__ import annotations

import collections
import datetime
import enum
import math
import struct
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peer import CONTEXT
from strategies import values
from tagged import load, show

from slither import DecodeError, EncodeError, ProtocolError, SlitherError, Tensor
from slither._types import Payload
from slither._wire import codec, frames
from slither._wire.build import frame
from slither._wire.codec import decode_frame
from slither._wire.fast import Fast
from slither._wire.walk import encode_slowly
from slither._worker.failure import Failure
from slither._worker.results import encode_result
from slither.protocol import pack, unpack

pytestmark = pytest.mark.usefixtures("decoders")

UTC = datetime.timezone.utc
NOTHING = object()
# A machine at work takes longer for some.
PATIENT = settings(deadline=None)
DAMAGED = [row for row in load("frames") + load("values") if len(row["hex"]) < 1_000]


@PATIENT
@given(values)
def test_the_law(value: Payload) -> None:
    packed = pack(value)
    assert show(unpack(packed)) == show(value)
    assert encode_slowly(value, "value") == packed


@PATIENT
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (unpack, frames.parse):
        try:
            read(data)
        except SlitherError:
            continue


@PATIENT
@given(st.sampled_from(DAMAGED), st.data())
def test_damaged_bytes_are_read_or_refused(row: dict[str, Payload], data: st.DataObject) -> None:
    body = bytearray.fromhex(row["hex"])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for read in (unpack, frames.parse):
        try:
            read(bytes(body))
        except SlitherError:
            continue


@PATIENT
@given(st.lists(values | st.just(NOTHING), max_size=5))
def test_a_result_frame_always_parses(results: list[Payload]) -> None:
    got = frames.parse(b"".join(encode_result(7, results)))
    assert isinstance(got, frames.Result)
    assert len(got.results) == len(results)
    bad = {index for index, result in enumerate(results) if result is NOTHING}
    assert set(got.errors or ()) == bad


def test_plain_msgpack_agrees() -> None:
    for value in (None, 5, -7, "é", b"x", [1, [2]], {"a": 1.5}, 2**64 - 1, list(range(70_000))):
        assert pack(value) == msgpack.packb(value, use_bin_type=True)
    assert unpack(pack("x" * 65_535)) == "x" * 65_535
    assert pack(b"x" * 65_536)[:5] == b"\xc6\x00\x01\x00\x00"


class Weekday(enum.IntEnum):
    MON = 2**70


NAN = float("nan")


def iter_nothing() -> Iterator[int]:
    yield from ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"tags": [1, 2, 3, NOTHING]},
            'value["tags"][3]: an object cannot be sent; make it a dataclass',
        ),
        ([(1, (NOTHING,))], "value[0][1][0]: an object cannot be sent"),
        ([{NOTHING}], "value[0]: the element <object object"),
        ("\ud800", "value: a str with a lone surrogate cannot be sent"),
        ({"\ud800": 1}, 'value: the key "\\ud800": a str with a lone surrogate'),
        ({1: {(1, NOTHING): 2}}, "value[1]: the key"),
        ({NAN: 1, -NAN: 2}, "value: the key nan appears twice"),
        ([{(1, NAN): 1, (1, -NAN): 2}], "value[0]: the key (1, nan) appears twice"),
        (np.array([None]), "value: an array of dtype object cannot be sent; call .tolist()"),
        (np.ma.array([1], mask=[True]), "value: a masked array cannot be sent"),
        ({np.datetime64("2020"): 1}, "value: the key np.datetime64('2020'): a datetime64 can't"),
        (Tensor("int8", (2,), b"x"), "value: the tensor's data has 1 bytes instead of 2"),
        (Tensor("int7", (1,), b"x"), "value: no tensor has the dtype 'int7'"),
        (1 << (8 * 65_536), "value: an integer of 65537 bytes cannot be sent"),
        (iter_nothing(), "value: a generator cannot be sent; make it a list"),
    ],
    # Python refuses to show an integer as long as the one above.
    ids=lambda part: part[:40] if type(part) is str and part.startswith("value") else "",
)
def test_what_cannot_be_sent_is_named(value: Payload, message: str) -> None:
    with pytest.raises(EncodeError) as caught:
        pack(value)
    assert str(caught.value).startswith(message)
    assert caught.value.path.startswith("value")


def nest(depth: int) -> Payload:
    value: Payload = None
    for _ in range(depth):
        value = [value]
    return value


def test_depth_and_cycles() -> None:
    assert pack(nest(1_000)) == b"\x91" * 1_000 + b"\xc0"
    assert unpack(b"\x91" * 1_000 + b"\xc0")
    cycle: list[Payload] = []
    cycle.append(cycle)
    for value in (nest(1_001), nest(5_000), cycle):
        with pytest.raises(EncodeError, match="nests more than 1,000"):
            pack(value)
    got = frames.parse(b"".join(encode_result(1, [nest(1_000), nest(1_001)])))
    assert isinstance(got, frames.Result)
    assert list(got.errors or ()) == [1]


class Unspeakable:
    def __str__(self) -> str:
        raise OSError("no words")


def test_a_failure_whose_reason_breaks_fails_alone() -> None:
    got = frames.parse(b"".join(encode_result(1, [1, Failure(Unspeakable())])))
    assert isinstance(got, frames.Result)
    assert got.errors == {1: {"kind": "failure", "message": "a Unspeakable (its str() failed)"}}


def test_lossy_as_the_table_says() -> None:
    pair = collections.namedtuple("pair", "a b")
    odd: list[tuple[Payload, Payload]] = [
        (pair(1, 2), (1, 2)),
        (collections.OrderedDict(a=1), {"a": 1}),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (Weekday.MON, 2**70),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
    ]
    for value, sent in odd:
        assert show(unpack(pack(value))) == show(sent)
        assert encode_slowly(value, "value") == pack(value)


def test_an_instant_is_one_key_even_where_time_is_ambiguous() -> None:
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    for fold in (0, 1):
        moment = datetime.datetime(2024, 10, 27, 2, 30, tzinfo=zone, fold=fold)
        other = moment.astimezone(UTC)
        with pytest.raises(EncodeError, match="twice"):
            pack({moment: 1, other: 2})
        assert unpack(pack({moment: 1})) == {moment: 1}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.arange(12).reshape(3, 4)[:, ::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(5, dtype=np.float16),
        np.zeros((0, 3), np.complex64),
        np.zeros((2, 0), bool),
        np.array([1 + 2j], dtype=">c16"),
        np.array([True, False]),
    ],
)
def test_arrays(array: Payload) -> None:
    got = unpack(b"\x92\x01" + pack(array))[1]
    assert got.shape == array.shape
    assert got.dtype == array.dtype.newbyteorder("<")
    assert got.flags.aligned
    assert got.flags.writeable
    np.testing.assert_array_equal(got, array)


def test_without_numpy_a_tensor_arrives_and_leaves() -> None:
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from slither.protocol import pack, unpack\n"
        "data = bytes.fromhex(sys.argv[1])\n"
        "tensor = unpack(data)\n"
        "assert type(tensor).__name__ == 'Tensor', tensor\n"
        "assert pack(tensor) == data\n"
        "try: unpack(b'\\x81' + data + b'\\x01')\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    data = pack(np.arange(3, dtype=np.int16)).hex()
    done = subprocess.run(
        [sys.executable, "-c", script, data], capture_output=True, text=True, check=True
    )
    assert done.stdout == "DecodeError\n"


def test_a_timestamp_is_found_among_lookalikes() -> None:
    lookalike = {"a": [b"\xd6\xff", {(1, b"\xd7\xff"): struct.unpack(">I", b"\xd6\xff\0\0")[0]}]}
    assert unpack(pack(lookalike)) == lookalike
    for bad in (
        b"\x81\xd6\xff\0\0\0\0\x01",
        b"\x91\x91\xd7\xff" + bytes(8),
        b"\xc7\x08\xff" + bytes(8),
        b"\x91\xc8\x00\x04\xff" + bytes(4),
        b"\x92\xd4\x10\x00\xc9\x00\x00\x00\x0c\xff" + bytes(12),
    ):
        with pytest.raises(DecodeError, match="type -1"):
            unpack(bad)
    assert math.isnan(unpack(b"\xca\x7f\xc0\x00\x00"))


def nested(levels: int, leaf: Payload) -> Payload:
    for _ in range(levels):
        leaf = (leaf,)
    return leaf


def test_keys_that_nest_deep_are_sent_or_refused() -> None:
    for leaf in (1, math.nan):
        value = {nested(999, leaf): 1}
        data = pack(value)
        assert data.startswith(b"\x81" + b"\x92\xd4\x10\x00" * 999)
        assert encode_slowly(value, "value") == data
        assert len(unpack(data)) == 1
    with pytest.raises(EncodeError, match="an object cannot be sent"):
        pack({nested(999, 1): NOTHING})
    for levels in (1_000, 5_000):
        with pytest.raises(EncodeError, match="a key nests too many containers"):
            pack({nested(levels, 1): 1})


def test_bytes_with_a_key_that_nests_deep_are_read_or_refused() -> None:
    for levels in (990, 1_022):
        with pytest.raises(DecodeError):
            decode_frame(b"\x81" + b"\x91" * levels + b"\xc1")
    assert len(decode_frame(b"\x81" + b"\x91" * 1_023 + b"\x01\x01")) == 1
    with pytest.raises(DecodeError, match="nests too many containers"):
        decode_frame(b"\x81" + b"\x91" * 1_024 + b"\x01\x01")


_CHAINS = [
    (b"\x91", b"\x01"),
    (b"\x81\xa1k", b"\x01"),
    (b"\x81\x07", b"\x01"),
    (b"\xdc\x00\x01", b"\xc4\x01a"),
]


@pytest.mark.parametrize(("level", "leaf"), _CHAINS)
def test_how_deep_bytes_may_nest_is_counted(level: bytes, leaf: bytes) -> None:
    for levels in (1, 8, 9, 10, 1_000):
        assert pack(unpack(level * levels + leaf))[-len(leaf) :] == leaf
    assert decode_frame(level * 1_024 + leaf)
    for read, least in ((unpack, 1_001), (decode_frame, 1_025)):
        for levels in (least, 1_500, 20_000, 300_000):
            with pytest.raises(DecodeError, match="nests too many containers"):
                read(level * levels + leaf)


_DEEP = """
import sys, threading
from slither import DecodeError, EncodeError
from slither._wire import codec
from slither.protocol import pack, unpack

if sys.argv[1] == "msgspec":
    codec._fast.load()
    codec._fast.pause = 0

def count():
    for levels in (1_000, 1_001, 100_000):
        value = key = 1
        for _ in range(levels):
            value = [value]
        # Python itself recurses to hash a key, and does not count.
        for _ in range(min(levels, 3_000) - 1):
            key = (key,)
        for action, argument in (
            (pack, value),
            (pack, {key: 1}),
            (unpack, b"\\x91" * levels + b"\\x01"),
            (unpack, b"\\x81" + b"\\x91" * (levels - 1) + b"\\x01\\x01"),
        ):
            try:
                action(argument)
                print("taken", end=" ")
            except (DecodeError, EncodeError):
                print("refused", end=" ")
    print()
    while value != 1:
        [value] = value
    while key != 1:
        [key] = key

def deeper(frames):
    deeper(frames - 1) if frames else count()

count()
deeper(700)
sys.setrecursionlimit(10**6)
threading.stack_size(512 * 1024)
thread = threading.Thread(target=count)
thread.start()
thread.join()
"""


def test_neither_stack_nor_recursion_limit_changes_how_deep_a_value_may_nest() -> None:
    decoder = "msgspec" if codec._fast.decode else "msgpack"
    done = subprocess.run(
        [sys.executable, "-c", _DEEP, decoder], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == (["taken"] * 4 + ["refused"] * 8) * 3


def test_a_frame_whose_kind_nests_deep_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no frame has the kind of type list"):
        frames.parse(b"\x91" * 1_020 + b"\x01")
    with pytest.raises(ProtocolError, match="no frame has the kind of type int"):
        frames.parse(b"\x92" + pack(-(1 << 500_000)) + b"\x01")


ROWS = [
    {"id": n, "name": f"row {n}", "price": n / 7, "tags": ["a", None, True]} for n in range(99)
]


def test_who_decodes_much_gets_the_faster_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Fast()
    monkeypatch.setattr(codec, "_fast", fast)
    body = frame(frames.CALL, 1, ["function", "m", "f"], CONTEXT, 3, 2, ROWS)
    call = frames.Call(1, ["function", "m", "f"], CONTEXT, 3, 2, ROWS)
    while fast.after > 0:
        assert frames.parse(body) == call
        assert (fast.decode is not None) == (fast.after <= 0)
    assert fast.read(body)[-1] == ROWS
    assert frames.parse(body) == call


def test_what_the_faster_decoder_refuses_is_left_to_msgpack_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast = Fast()
    monkeypatch.setattr(codec, "_fast", fast)
    fast.load()
    rows, other = pack(ROWS), pack([b"bytes", *ROWS])
    assert fast.read(rows) == ROWS
    assert unpack(other) == [b"bytes", *ROWS]
    assert fast.after == fast.pause * len(other)
    while fast.after > 0:
        assert unpack(rows) == ROWS
    assert fast.read(rows) == ROWS


def test_without_msgspec_all_is_decoded_by_msgpack(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Fast()
    monkeypatch.setattr(codec, "_fast", fast)
    monkeypatch.setitem(sys.modules, "msgspec.msgpack", None)
    fast.after = 1
    assert unpack(pack([1])) == [1]
    assert unpack(pack([1])) == [1]
    assert fast.decode is None
