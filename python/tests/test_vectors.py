from __future__ import annotations

import pytest
from tagged import load, show, untag

from slither import DecodeError, ProtocolError, SlitherError, UnknownBlob
from slither._types import Payload
from slither._wire import build, driving, frames
from slither._wire.blobs import Reference
from slither._wire.build import frame
from slither._wire.types import arrow
from slither._wire.walk import encode_slowly
from slither.protocol import pack, unpack

pytestmark = pytest.mark.usefixtures("decoders")

VALUES, FRAMES, INVALID = load("values"), load("frames"), load("invalid")
Row = dict[str, Payload]


def names(rows: list[Row]) -> list[str]:
    return [row["name"] for row in rows]


# What Python has one type for, BEAM has two: a list as a key is a tuple here, and goes as one.
LISTS_AS_KEYS = {"list key", "nested list key", "empty list key", "map within a list key map"}


@pytest.fixture(autouse=True)
def opaque_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    # Some machines of these tests have pyarrow, which writes bytes of its own.
    def missing() -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(arrow, "_pyarrow", missing)


@pytest.mark.parametrize("row", VALUES, ids=names(VALUES))
def test_a_value_both_ways(row: Row) -> None:
    if row["name"] == "pickled":
        return
    value = untag(row["value"])
    if isinstance(value, Reference):
        assert pack(value).hex() == encode_slowly(value, "value").hex() == row["hex"]
        with pytest.raises(UnknownBlob, match=f"the blob {value.name} is of another BEAM"):
            unpack(bytes.fromhex(row["hex"]))
        return
    got = unpack(bytes.fromhex(row["hex"]))
    assert show(got) == show(value)
    if row["name"] in LISTS_AS_KEYS:
        assert show(unpack(pack(got))) == show(got)
        return
    assert pack(value).hex() == row["hex"]
    assert encode_slowly(value, "value").hex() == row["hex"]
    assert pack(got).hex() == row["hex"]


def test_a_pickled_value_is_refused_with_a_reason() -> None:
    [row] = [row for row in VALUES if row["name"] == "pickled"]
    with pytest.raises(DecodeError, match="which only a program with by_value=True and the"):
        unpack(bytes.fromhex(row["hex"]))


@pytest.mark.parametrize("row", FRAMES, ids=names(FRAMES))
def test_a_frame_both_ways(row: Row) -> None:
    kind, *fields = untag(row["value"])
    assert frame(kind, *fields).hex() == row["hex"]
    parse = frames.parse if kind in frames.WORKER_KINDS else frames.parse_any
    got = parse(bytes.fromhex(row["hex"]))
    assert show(list(got)) == show(fields)
    assert isinstance(got, frames.RECORDS[kind])


ONE = b"\x01"
BY_HAND = [
    (build.view_call(7, 3, "\ud800", 1, [1], timeout=5), frames.ViewCall),
    (build.table_call(7, 3, "\ud800", "put", ([1, 1],)), frames.TableCall),
    ((*(build.result_of(7, [1]) or ()), build.errors({}), build.timing(1, 2, 3)), frames.Result),
    ((build.result_head(7, 1), ONE, build.errors({}), build.timing(1, 2, 300)), frames.Result),
    ((build.part_head(7, 300, 1), ONE, build.errors({})), frames.Part),
    ((build.feed_head(70_000, 300, 1, 1), ONE), driving.Feed),
]


@pytest.mark.parametrize(("pieces", "record"), BY_HAND)
def test_a_frame_built_by_hand_is_the_one_of_its_record(
    pieces: build.Pieces, record: type[frames.Frame]
) -> None:
    body = b"".join(pieces)
    got = frames.parse_any(body)
    assert type(got) is record
    kind = next(kind for kind, made in frames.RECORDS.items() if made is record)
    assert show(list(got)) == show(list(frames.parse_any(build.frame(kind, *got))))
    assert body[:2] == frames.head(kind)


@pytest.mark.parametrize("count", [1, 15, 16, 65_535, 65_536])
def test_errors_are_a_map_of_as_many(count: int) -> None:
    fault = pack({"kind": "k", "message": "m"})
    body = build.part_head(1, 0, 0) + build.errors(dict.fromkeys(range(count), fault))
    got = frames.parse(body)
    assert isinstance(got, frames.Part)
    assert got.errors is not None
    assert len(got.errors) == count


def test_every_kind_has_a_vector() -> None:
    kinds = {untag(row["value"])[0] for row in FRAMES}
    assert kinds == set(frames.RECORDS)


def test_a_worker_refuses_the_frames_of_a_driver() -> None:
    body = frame(frames.END, 5)
    assert frames.parse_any(body) == driving.End(5)
    with pytest.raises(ProtocolError, match="no frame has the kind 36"):
        frames.parse(body)


@pytest.mark.parametrize(
    "row", [row for row in INVALID if row["kind"] == "value" and row.get("to") != "beam"]
)
def test_an_invalid_value_is_refused(row: Row) -> None:
    with pytest.raises(DecodeError):
        unpack(bytes.fromhex(row["hex"]))


@pytest.mark.parametrize("row", [row for row in INVALID if row["kind"] == "frame"])
def test_an_invalid_frame_is_refused(row: Row) -> None:
    with pytest.raises(SlitherError):
        frames.parse_any(bytes.fromhex(row["hex"]))


def test_names_are_unique() -> None:
    for rows in (VALUES, FRAMES):
        assert len(set(names(rows))) == len(rows)
