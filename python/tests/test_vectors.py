from __future__ import annotations

import pytest
from tagged import load, show, untag

from slither import DecodeError, SlitherError
from slither import _frames as frames
from slither._answer import frame
from slither._types import Payload
from slither._walk import encode_slowly
from slither.protocol import pack, unpack

VALUES, FRAMES, INVALID = load("values"), load("frames"), load("invalid")
Row = dict[str, Payload]


def names(rows: list[Row]) -> list[str]:
    return [row["name"] for row in rows]


@pytest.mark.parametrize("row", VALUES, ids=names(VALUES))
def test_a_value_both_ways(row: Row) -> None:
    value = untag(row["value"])
    assert pack(value).hex() == row["hex"]
    assert encode_slowly(value, "value").hex() == row["hex"]
    assert show(unpack(bytes.fromhex(row["hex"]))) == show(value)
    assert pack(unpack(bytes.fromhex(row["hex"]))).hex() == row["hex"]


@pytest.mark.parametrize("row", FRAMES, ids=names(FRAMES))
def test_a_frame_both_ways(row: Row) -> None:
    kind, *fields = untag(row["value"])
    assert frame(kind, *fields).hex() == row["hex"]
    got = frames.parse(bytes.fromhex(row["hex"]))
    assert show(list(got)) == show(fields)
    assert isinstance(got, frames.TABLE[kind][0])  # type: ignore[arg-type]


def test_every_kind_has_a_vector() -> None:
    assert {untag(row["value"])[0] for row in FRAMES} == set(frames.TABLE)


@pytest.mark.parametrize(
    "row", [row for row in INVALID if row["kind"] == "value" and row.get("to") != "beam"]
)
def test_an_invalid_value_is_refused(row: Row) -> None:
    with pytest.raises(DecodeError):
        unpack(bytes.fromhex(row["hex"]))


@pytest.mark.parametrize("row", [row for row in INVALID if row["kind"] == "frame"])
def test_an_invalid_frame_is_refused(row: Row) -> None:
    with pytest.raises(SlitherError):
        frames.parse(bytes.fromhex(row["hex"]))


def test_names_are_unique() -> None:
    for rows in (VALUES, FRAMES):
        assert len(set(names(rows))) == len(rows)
