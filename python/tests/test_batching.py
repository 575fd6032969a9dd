"""How large a map's batches are, and how many are out, without anything that is sent."""

from __future__ import annotations

import pytest

from slither._driver import batching
from slither._driver.batching import Batching


def test_batches_of_a_size_fill_the_window_and_no_more() -> None:
    made = Batching(10, 3, 2)
    for _ in range(3):
        assert made.room() == 10
        made.went(10, 100)
    assert made.room() == 0
    made.came(9)
    assert made.room() == 0
    made.came(1)
    assert (made.room(), made.sent, made.received) == (10, 30, 10)


def test_a_batch_that_is_not_full_goes_at_the_end_or_to_a_worker_that_has_nothing_to_do() -> None:
    made = Batching(10, 8, 2)
    assert made.next(25, ended=False, paused=False) == 10
    assert made.next(4, ended=False, paused=False) == 0
    assert made.next(4, ended=False, paused=True) == 4
    made.went(10, 1)
    made.went(10, 1)
    assert made.next(4, ended=False, paused=True) == 0, "both are busy"
    assert made.next(4, ended=True, paused=False) == 4
    assert made.next(0, ended=True, paused=True) == 0


def test_without_a_size_batches_are_as_large_as_beam_says() -> None:
    made = Batching(None, 8, 2)
    assert made.next(9, ended=False, paused=False) == 1
    made.found(20)
    assert made.room() == 60
    assert made.next(60, ended=False, paused=False) == 20
    assert made.next(39, ended=False, paused=False) == 0, "not enough to share out"
    given = Batching(7, 8, 2)
    given.found(20)
    assert given.room() == 7


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 3, 20, 500])
@pytest.mark.parametrize("left", [1, 2, 17, 99, 1_000])
def test_what_is_left_is_shared_out(workers: int, size: int, left: int) -> None:
    made = settled(1_000, workers, size)
    while left:
        batch = made.next(left, ended=True, paused=False)
        share = max(-(-left // workers), size // 25)
        assert 1 <= batch <= min(size, share, left)
        made.went(batch, 1)
        left -= batch


def test_items_that_are_quick_make_no_crumbs() -> None:
    made = settled(1_000, 2, 12_500)
    left, batches = 1_903, []
    while left:
        batches.append(made.next(left, ended=True, paused=False))
        made.went(batches[-1], 1)
        left -= batches[-1]
    assert batches == [952, 500, 451]


def settled(most: int, workers: int, size: int) -> Batching:
    """Batches of a size that an answer has shown to be the right one."""
    made = Batching(None, most, workers)
    made.went(1, 1)
    made.found(size)
    made.came(1)
    made.went(1, 1)
    made.came(1)
    return made


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_while_the_size_grows_one_batch_for_each_worker_is_out(workers: int) -> None:
    made = Batching(None, 100, workers)
    for size in (1, 8, 64):
        made.found(size)
        for _ in range(workers):
            assert made.room() == size * (workers + 1)
            made.went(size, 1)
        assert made.room() == 0
        made.came(size * workers)
    for _ in range(100):
        assert made.room() == 64 * (workers + 1)
        made.went(64, 1)
    assert made.room() == 0


def test_a_found_batch_counts_as_one_however_large() -> None:
    made = settled(2, 1, 1)
    made.went(1, 1)
    assert made.room() == 2
    made.went(1, 1)
    assert made.room() == 0
    assert made.next(5, ended=True, paused=True) == 0
    made.came(1)
    assert made.room() == 2


def test_bytes_that_are_out_leave_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_BYTES", 1_000)
    made = Batching(1, 100, 2)
    made.went(1, 999)
    assert made.room() == 1
    made.went(1, 1)
    assert made.room() == 0
    made.came(1)
    assert made.room() == 1


def test_a_batch_of_which_nothing_could_be_sent_takes_no_room() -> None:
    made = Batching(None, 1, 1)
    made.went(0, 5)
    assert made.room() == 2


def test_results_count_as_well_as_items_where_bytes_are_bounded() -> None:
    made = Batching(10, 8, 2, 1_000)
    made.went(10, 100)
    assert made.room() == 10
    made.went(10, 100)
    assert made.room() == 0, "until one is there, nobody knows how large results are"
    made.came(10, 300)
    # Of the other, 100 bytes are out and 300 are to come; the next would take as many.
    assert made.room() == 10
    made.went(10, 100)
    assert made.room() == 0
    made.came(10, 300)
    assert made.room() == 10


def test_one_batch_may_be_larger_than_the_bound() -> None:
    made = Batching(10, 8, 2, 100)
    assert made.room() == 10
    made.went(10, 5_000)
    assert made.room() == 0
    made.came(10, 5_000)
    assert made.next(10, ended=False, paused=False) == 10


def test_batches_whose_size_is_found_leave_room_for_each_worker() -> None:
    made = Batching(None, 8, 2, 1_000)
    made.went(1, 10)
    made.went(1, 10)
    made.came(1, 40)
    made.found(500)
    # An item takes 10 and its result 40: 10 of them for each worker are 1,000.
    assert made.next(100, ended=False, paused=False) == 10
    made.came(1, 90)
    assert made.next(100, ended=False, paused=False) == 5, "later ones may be larger"


def test_what_was_large_is_forgotten() -> None:
    made = Batching(1, 100, 1, 1_000)
    made.went(1, 0)
    made.came(1, 900)
    for _ in range(20):
        assert made.room() == 1
        made.went(1, 0)
        made.came(1, 1)
    for _ in range(100):
        assert made.room() == 1
        made.went(1, 0)
