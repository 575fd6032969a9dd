"""Arrays that a handler may write into, and those of one that says that it only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy
import pytest
import reading

import slither
from slither import Pipe
from slither._wire import frames
from slither._wire.build import frame
from slither._worker import reads
from slither.testing import run_handler
from slither.worker import batch_handler, item_handler

READ = "assignment destination is read-only"
ARRAYS: list[Any] = [
    numpy.arange(6),
    numpy.array(["2026-11-29"], "M8[D]"),
    numpy.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
]


@pytest.fixture(scope="module")
def one(escript: object) -> Iterator[slither.Beam]:
    with slither.Beam(workers=1) as started:
        yield started


@pytest.mark.parametrize("array", ARRAYS, ids=["numbers", "times", "records"])
def test_a_handler_may_write_into_its_arrays(beam: slither.Beam, array: Any) -> None:
    for _ in range(2):
        assert list(beam.map(reading.plain, [array])) == [["written", "bytearray"]]


@pytest.mark.parametrize("array", ARRAYS, ids=["numbers", "times", "records"])
@pytest.mark.parametrize(
    "handler", [reading.one, reading.several, reading.yielded, reading.awaited]
)
def test_arrays_of_one_that_reads_are_what_came(
    one: slither.Beam, handler: Callable[..., Any], array: Any
) -> None:
    told = [list(one.map(handler, [array] * 2, batch_size=1)) for _ in range(3)]
    # A call that came before anybody had found its handler has a copy, which is closed.
    assert [says for run in told for says, _on in run] == [READ] * 6
    assert [on for _says, on in told[-1]] == ["bytes"] * 2


def test_arrays_within_items_are_closed_as_well(beam: slither.Beam) -> None:
    item = {"deep": [(0, numpy.arange(3))]}
    for _ in range(3):
        assert [says for says, _on in beam.map(reading.within, [item])] == [READ]


def test_single_calls_and_pipes_are_as_maps(beam: slither.Beam) -> None:
    array = numpy.arange(3)
    for _ in range(3):
        assert beam.submit(reading.one, array).result()[0] == READ
        assert beam.submit_with(reading.one, (array,), session="reads").result()[0] == READ
        pipe = Pipe("reads").python("one", reading.one)
        assert [says for says, _on in beam.run(pipe, [array])["default"]] == [READ]
        twice = Pipe("reads_many").python("many", reading.many, cardinality="many")
        assert [says for says, _on in beam.run(twice, [array])["default"]] == [READ] * 2


def test_without_beam_it_is_the_same() -> None:
    array = numpy.arange(3)
    assert run_handler(reading.one, [array, array])[0][0] == READ
    assert run_handler(reading.plain, [array])[0][0] == "written"
    assert array.flags.writeable


def test_what_only_reads_gets_the_same_values(beam: slither.Beam) -> None:
    arrays = [numpy.arange(n, dtype="f8").reshape(1, n) for n in range(5)]
    for _ in range(2):
        assert list(beam.map(reading.total, arrays)) == [array.sum() for array in arrays]


def test_a_mark_says_true_or_false_of_a_function_of_ones_own() -> None:
    for mark in (item_handler, batch_handler):
        with pytest.raises(TypeError, match="writable is True or False, not 'no'"):
            mark(writable="no")(lambda item: item)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="writable=False goes with a function of yours"):
        batch_handler("reading_partial_of_len", writable=False)(len)
    assert partial(reading.one).func is reading.one


def test_a_frame_whose_target_is_none_is_no_call_of_a_reader() -> None:
    odd = frame(frames.CALL, 1, ["function", "m", {}], {}, 0, 1, [])
    assert reads.target_of(odd) is None
