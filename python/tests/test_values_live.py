"""The law over a live port: a value is the same in a worker, on BEAM, and when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import driven
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import keys, values
from tagged import show

import slither
from slither import Pipe, item
from slither._types import Payload
from slither.testing import run_handler

LIVE = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def look(value: Payload) -> Payload:
    """As `show`, but for the order of a dict, which BEAM does not keep."""
    return in_order(show(value))


def in_order(shown: Payload) -> Payload:
    if not isinstance(shown, list):
        return shown
    parts = [in_order(part) for part in shown]
    return (
        ["map", sorted(parts[1], key=repr)] if parts[:1] == ["map"] and len(parts) == 2 else parts
    )


@pytest.fixture(scope="module")
def beam(escript: Path) -> Iterator[slither.Beam]:
    with slither.Beam(workers=1) as started:
        yield started


@LIVE
@given(st.lists(values, min_size=1, max_size=12))
def test_items_come_back_as_they_were(beam: slither.Beam, items: list[Payload]) -> None:
    got = list(beam.map(driven.echo, items, on_error="return"))
    assert [show(value) for value in got] == [show(value) for value in items]


@LIVE
@given(st.lists(values, min_size=1, max_size=12))
def test_a_worker_sees_what_was_sent(beam: slither.Beam, items: list[Payload]) -> None:
    assert list(beam.map(driven.shown, items)) == [repr(show(value)) for value in items]


@LIVE
@given(st.lists(values, min_size=1, max_size=10))
def test_beam_passes_on_what_it_got(beam: slither.Beam, items: list[Payload]) -> None:
    got = beam.run(Pipe("p").beam("echo", {"in": [item]}), items)["default"]
    assert [look(value["in"][0]) for value in got] == [look(value) for value in items]


@LIVE
@given(keys, values)
def test_a_table_has_what_was_put_by_the_key_it_was_put(
    beam: slither.Beam, key: Payload, value: Payload
) -> None:
    table = beam.store("values")
    # What an example that failed has left.
    table.clear()
    table[key] = value
    assert look(table[key]) == look(value)
    assert key in table
    [[again, other]] = table.items()
    assert (look(again), look(other)) == (look(key), look(value))
    del table[key]
    assert len(table) == 0


class TestRegistered:
    def test_a_registered_type_is_what_it_was_on_both_sides(self, beam: slither.Beam) -> None:
        prices = [driven.Price(n) for n in range(5)]
        assert list(beam.map(driven.dearer, prices)) == [driven.Price(n + 1) for n in range(5)]
        assert beam.submit(driven.dearer, driven.Price(7)).result() == driven.Price(8)
        assert list(beam.map(driven.dearest, prices, batch_size=5)) == [[prices[4]]] * 5
        table = beam.store("prices")
        table[driven.Price(1)] = {"a": [driven.Price(2)]}
        assert table[driven.Price(1)] == {"a": [driven.Price(2)]}
        assert dict(table.items()) == {driven.Price(1): {"a": [driven.Price(2)]}}

    def test_an_item_that_a_worker_cannot_make_fails_alone(self, beam: slither.Beam) -> None:
        unlucky = driven.Price(12)
        unlucky.cents = 13
        items = [driven.Price(1), unlucky, driven.Price(3)]
        for function in (driven.dearer, driven.dearest):
            got = list(beam.map(function, items, batch_size=3, on_error="return"))
            assert isinstance(got[1], slither.DecodeError)
            assert "could not decode a driven.Price: ValueError: unlucky" in str(got[1])
            assert not isinstance(got[0], Exception)
            assert not isinstance(got[2], Exception)

    def test_a_result_that_the_program_cannot_make_fails_alone(self, beam: slither.Beam) -> None:
        items = [driven.Price(n) for n in (1, 11, 3)]
        beam_side = beam.map(driven.spoilt, items, batch_size=3, on_error="return")
        got = list(beam_side)
        assert got[0] == driven.Price(1)
        assert isinstance(got[1], slither.DecodeError)
        assert got[2] == driven.Price(3)
        with pytest.raises(slither.DecodeError, match="ValueError: unlucky"):
            beam.submit(driven.spoilt, items[1]).result()

    def test_beam_passes_on_what_it_does_not_know(self, beam: slither.Beam) -> None:
        tagged = slither.Tagged("driven.Unknown", (1, driven.Price(2)))
        assert list(beam.map(driven.echo, [tagged])) == [tagged]

    def test_what_is_in_one_by_value_is_there_when_it_is_made(self, escript: Path) -> None:
        with slither.Beam(workers=1, by_value=True) as beam:
            cart = driven.Cart([driven.Kind.BOOK])
            [[back, kinds]] = beam.map(driven.kinds, [cart])
            assert type(back) is driven.Cart
            assert back.kinds == kinds == [driven.Kind.BOOK]

    def test_tests_see_the_same(self) -> None:
        assert run_handler(driven.dearer, [driven.Price(1)]) == [driven.Price(2)]


@LIVE
@given(st.dictionaries(st.text("abc"), values, max_size=4))
def test_arguments_keep_their_types(beam: slither.Beam, named: dict[str, Payload]) -> None:
    got = beam.submit(driven.keywords, *named.values(), **named).result()
    assert show(got) == show([list(named.values()), named])
