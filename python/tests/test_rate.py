"""Maps that keep to a rate."""

from __future__ import annotations

import math
import time

import pytest
import rated

import slither
from slither import Rate


def test_a_map_keeps_to_its_rate_and_its_order(beam: slither.Beam) -> None:
    began = time.monotonic()
    results = beam.map(rated.noted, range(20), batch_size=16, rate=Rate(10, 0.1, burst=3))
    found = list(results)
    assert time.monotonic() - began >= 0.17
    assert [item for item, _size, _at in found] == list(range(20))
    assert max(size for _item, size, _at in found) == 3
    assert results.summary.times["rate"] >= 0.1


def test_maps_of_one_name_share_a_bucket(beam: slither.Beam) -> None:
    rate = Rate(20, 0.1, burst=1, name="shared")
    began = time.monotonic()
    assert list(beam.map(math.sqrt, range(10), rate=rate)) == [math.sqrt(n) for n in range(10)]
    assert len(list(beam.map(math.sqrt, range(10), rate=rate))) == 10
    assert time.monotonic() - began >= 0.09
    with pytest.raises(slither.CallError, match="runs already with 20 items in 100 ms"):
        list(beam.map(math.sqrt, [1], rate=Rate(5, 0.1, name="shared")))


def test_an_item_that_is_refused_goes_again(beam: slither.Beam) -> None:
    results = beam.map(rated.refuses_once, range(9), rate=Rate(1_000, 0.1))
    assert list(results) == list(range(9))
    assert results.summary.errors == {}
    with pytest.raises(slither.CallError, match="busy"):
        list(beam.map(rated.refuses_once, range(300, 309)))


def test_an_urgent_map_is_a_map(beam: slither.Beam) -> None:
    assert list(beam.map(math.sqrt, [4.0], priority="urgent")) == [2.0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Rate(0, 1.0), "items is"),
        (lambda: Rate(1, 0), "per is"),
        (lambda: Rate(1, 1.0, burst=0), "burst is"),
        (lambda: Rate(1, 1.0, weight=-1), "weight is"),
        (lambda: Rate(1, 1.0, name=""), "name is"),
    ],
)
def test_what_is_wrong_is_told(wrong: object, said: str) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=said):
        wrong()


def test_what_is_no_rate_or_priority_is_told(beam: slither.Beam) -> None:
    with pytest.raises(ValueError, match=r"rate is a slither\.Rate"):
        beam.map(math.sqrt, [1], rate="openai")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="priority is one of 'normal', 'urgent'"):
        beam.map(math.sqrt, [1], priority="now")  # type: ignore[call-overload]
