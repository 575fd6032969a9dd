from __future__ import annotations

import pytest
from tagged import load, show, untag

from slither import DecodeError, ProtocolError, SlitherError
from slither._types import Payload
from slither._wire import driver_frames as driver
from slither._wire import frames
from slither._wire.walk import encode_slowly
from slither._worker.results import frame
from slither.protocol import pack, unpack

pytestmark = pytest.mark.usefixtures("decoders")

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
    parse = frames.parse if kind in frames.TABLE else driver.parse
    got = parse(bytes.fromhex(row["hex"]))
    assert show(list(got)) == show(fields)
    table = {**frames.TABLE, **driver.TABLE}
    assert isinstance(got, table[kind][0])  # type: ignore[arg-type]


def test_every_kind_has_a_vector() -> None:
    kinds = {untag(row["value"])[0] for row in FRAMES}
    assert kinds == set(frames.TABLE) | set(driver.TABLE)


def test_a_worker_refuses_the_frames_of_a_driver() -> None:
    body = frame(driver.END, 5)
    assert driver.parse(body) == driver.End(5)
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
        driver.parse(bytes.fromhex(row["hex"]))


def test_names_are_unique() -> None:
    for rows in (VALUES, FRAMES):
        assert len(set(names(rows))) == len(rows)
