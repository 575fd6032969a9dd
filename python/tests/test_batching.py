"""How large a map's batches are, and how many are out, without anything that is sent."""

from __future__ import annotations

import pytest

from slither._driver import batching
from slither._driver.batching import Batching


def test_batches_of_a_size_fill_the_window_and_no_more() -> None:
    made = Batching(10, 3)
    for _ in range(3):
        assert made.room() == 10
        made.went(10, 100, 0.0)
    assert made.room() == 0
    made.came(9, 0.1)
    assert made.room() == 0
    made.came(1, 0.1)
    assert (made.room(), made.sent, made.received) == (10, 30, 10)


def test_without_a_size_batches_grow_while_they_come_back_soon() -> None:
    made = Batching(None, 2)
    sizes = []
    for _ in range(8):
        sizes.append(made.room())
        made.went(sizes[-1], 1, 0.0)
        made.came(sizes[-1], 0.01)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 64]
    made.went(64, 1, 0.0)
    made.came(64, 0.1)
    assert made.room() == 64, "neither soon nor late"
    for left in (32, 16, 8, 4, 2, 1, 1):
        made.went(1, 1, 0.0)
        made.came(1, 0.3)
        assert made.room() == left


def test_a_growing_batch_counts_as_one_however_large() -> None:
    made = Batching(None, 2)
    made.went(1, 1, 0.0)
    assert made.room() == 1
    made.went(1, 1, 0.0)
    assert made.room() == 0
    made.came(1, 1.0)
    assert made.room() == 1


def test_bytes_that_are_out_leave_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_BYTES", 1_000)
    made = Batching(1, 100)
    made.went(1, 999, 0.0)
    assert made.room() == 1
    made.went(1, 1, 0.0)
    assert made.room() == 0
    made.came(1, 0.0)
    assert made.room() == 1


def test_a_batch_of_which_nothing_could_be_sent_is_soon_forgotten() -> None:
    made = Batching(None, 1)
    made.went(0, 5, 0.0)
    assert made.room() == 0
    made.came(0, 0.0)
    assert made.room() == 2
