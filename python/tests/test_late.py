"""Values of registered types, where those are registered late, or what they are made by fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coins
import pytest
from coins import Coin

import slither
from slither import DecodeError, Tagged, testing
from slither._wire import codec, late


@pytest.fixture
def beam(escript: Path) -> Iterator[slither.Beam]:
    """A Beam whose worker has not imported the module that registers the type."""
    with slither.Beam(workers=1) as started:
        yield started


def test_the_first_call_has_objects(beam: slither.Beam) -> None:
    assert list(beam.map(coins.doubled, [Coin(1), Coin(2)])) == [Coin(2), Coin(4)]


def test_a_first_call_of_a_list_has_objects(beam: slither.Beam) -> None:
    assert list(beam.map(coins.all_doubled, [Coin(1), Coin(2)])) == [Coin(2), Coin(4)]


def test_the_first_arguments_are_objects(beam: slither.Beam) -> None:
    assert beam.submit(coins.total, Coin(1), Coin(2), tip=Coin(3)).result() == 12


def test_keys_and_elements_are_objects(beam: slither.Beam) -> None:
    purse = {Coin(1): {Coin(2), Coin(3)}, Coin(4): set()}
    assert list(beam.map(coins.counted, [purse])) == [[1, 2, 3, 4]]


@pytest.mark.parametrize("function", [coins.doubled, coins.all_doubled])
def test_what_can_not_be_made_fails_its_own_item(beam: slither.Beam, function: Any) -> None:
    items = [Coin(1), Coin(-5), Coin(2)]
    # Once while the type is not known, and once when it is.
    for _ in range(2):
        first, wrong, last = beam.map(function, items, on_error="return", batch_size=3)
        assert (first, last) == (Coin(2), Coin(4))
        assert "could not decode a tests.Coin: ValueError: no coin has -5 cents" in str(wrong)


def test_a_result_that_can_not_be_made_fails_alone(beam: slither.Beam) -> None:
    items = [Coin(0), Coin(5), Coin(0)]
    first, wrong, last = beam.map(coins.in_debt, items, on_error="return", batch_size=3)
    assert first == last == Coin(0)
    assert isinstance(wrong, DecodeError)
    assert "no coin has -5 cents" in str(wrong)
    with pytest.raises(DecodeError, match="no coin has -7 cents"):
        beam.submit(coins.in_debt, Coin(7)).result()


def test_a_table_gives_objects(beam: slither.Beam) -> None:
    table = beam.table("purse")
    table["a"], table["debt"] = Coin(3), Coin(-3)
    assert table["a"] == Coin(3)
    assert beam.submit(coins.kept, "a").result() == 3
    with pytest.raises(DecodeError, match="no coin has -3 cents"):
        table["debt"]
    assert table["a"] == Coin(3)


def test_a_handler_in_a_test_has_objects() -> None:
    results = testing.run_handler(coins.doubled, [Coin(1), Coin(-1)])
    assert results[0] == Coin(2)
    assert "no coin has -1 cents" in str(results[1])


def test_values_of_unknown_names_stay_as_they_are() -> None:
    value = [Tagged("tests.unknown", {"a": Tagged("tests.other", 1)})]
    assert codec.decode(codec.encode(value)) == value
    assert late.made(value) is value


def test_objects_within_what_is_not_known_are_made() -> None:
    inner = Tagged("tests.Coin", [5])
    assert late.made([Tagged("tests.unknown", (inner,))]) == [Tagged("tests.unknown", (Coin(5),))]
    assert late.made(frozenset({inner})) == frozenset({Coin(5)})
    assert late.made({inner: {inner}}) == {Coin(5): {Coin(5)}}


def test_they_are_made_however_deep_they_are() -> None:
    deep: object = Tagged("tests.Coin", [5])
    for _ in range(900):
        deep = [deep]
    made = late.made(deep)
    for _ in range(900):
        [made] = made
    assert made == Coin(5)


class Mute(Exception):
    """An exception that can't say anything."""

    def __str__(self) -> str:
        raise KeyError("no text")


class Stone:
    """What can be neither sent nor made."""


def _mute(_value: object) -> Any:
    raise Mute


def test_an_exception_without_a_text_fails_its_own_value() -> None:
    slither.register(Stone, _mute, _mute, name="tests.Stone")
    with pytest.raises(slither.EncodeError, match=r"value\[1\]: .*: Mute: its str\(\) failed"):
        codec.encode([1, Stone()])
    late.met()
    values = [codec.decode_frame(codec.encode(value)) for value in (1, Tagged("tests.Stone", 2))]
    failed = late.each(values)
    assert values == [1, None]
    assert "could not decode a tests.Stone: Mute: its str() failed" in str(failed[1])
