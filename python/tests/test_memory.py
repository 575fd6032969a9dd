"""Workers that take more than a pool's max_memory, by each way that gives them work."""

from __future__ import annotations

import itertools
import pickle
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import large
import pytest

import slither
from slither._driver.errors_in import to_error

LIMIT = 150_000_000
MUCH = 300


@pytest.fixture(scope="module")
def beam(escript: Path) -> Iterator[slither.Beam]:
    with slither.Beam(workers=1, pool={"max_memory": LIMIT}) as started:
        yield started


def checked(error: object) -> slither.MemoryExceeded:
    assert isinstance(error, slither.MemoryExceeded)
    assert isinstance(error, MemoryError)
    assert error.kind == "memory"
    facts = error.facts
    assert facts["limit"] == LIMIT
    taken, processes = facts["taken"], facts["processes"]
    assert isinstance(taken, int)
    assert taken > LIMIT
    assert isinstance(processes, list)
    assert processes[0]["bytes"] > 100_000_000
    assert processes[0]["name"].startswith("python")
    assert "max_memory is 150 MB; it was killed" in str(error)
    return error


def test_a_call_that_takes_a_gigabyte_fails_and_the_next_goes_on(beam: slither.Beam) -> None:
    before = beam.submit(large.take, 0).result()
    error = checked(beam.submit(large.take, 1_000).exception())
    assert error.stack is not None
    assert "large.py" in error.stack
    assert beam.submit(large.take, 0).result() != before


def test_the_item_of_a_map_is_found(beam: slither.Beam) -> None:
    function: Any = large.take_each
    items = [0, 0, 0, MUCH, 0, 0]
    got = list(beam.map(function, items, batch_size=6, isolate=True, on_error="return"))
    checked(got[3])
    assert all(isinstance(pid, int) for pid in got[:3] + got[4:])
    with pytest.raises(slither.MemoryExceeded):
        list(beam.map(large.take, [MUCH]))


def test_an_item_of_a_gather_and_of_a_pipe_fails(beam: slither.Beam) -> None:
    gather = beam.gather(large.take_each, max_wait=0)
    checked(gather.submit(MUCH).exception())
    pipe = slither.Pipe("large").python("take", large.take)
    with pytest.raises(slither.RunError) as caught:
        beam.run(pipe, [MUCH])
    checked(caught.value.__cause__)


def test_a_session_is_lost_with_its_worker(beam: slither.Beam) -> None:
    checked(beam.submit_with(large.keep, [MUCH], session="large").exception())
    lost = beam.submit_with(large.keep, [0], session="large").exception()
    assert isinstance(lost, slither.CallError)
    assert lost.kind == "session_lost"
    beam.end_session("large")


@pytest.mark.parametrize("ordering", ["preserve", "as_completed"])
def test_a_map_holds_no_more_than_it_may_ahead(
    beam: slither.Beam, ordering: slither._driver.settings.Ordering
) -> None:
    taken = 0
    ahead: list[int] = []

    def items() -> Iterator[int]:
        for n in itertools.count():
            ahead.append(n - taken)
            yield 2

    results = beam.map(
        large.megabytes, items(), batch_size=1, ahead_bytes=8_000_000, ordering=ordering
    )
    for result in itertools.islice(results, 20):
        assert len(result) == 2_000_000
        taken += 1
    results.close()
    # Four results are 8 MB; an item is pulled before there is room for it.
    assert max(ahead[2:]) <= 5


def test_bytes_ahead_are_a_whole_number(beam: slither.Beam) -> None:
    wrong: Any
    for wrong in (0, -1, 1.5, "many"):
        with pytest.raises(
            ValueError, match="ahead_bytes is a whole number of 1 or more, or None"
        ):
            beam.map(large.megabytes, [1], ahead_bytes=wrong)


def test_workers_are_held_to_limits_of_the_system(escript: Path) -> None:
    limits: Any = {"nofile": 200, "core": (0, 0), "as": None}
    with slither.Beam(workers=1, pool={"rlimits": limits}) as beam:
        nofile, core, addresses = beam.submit(large.limits).result()
        assert nofile[0] == 200
        assert core == (0, 0)
        assert addresses[0] == resource.RLIM_INFINITY
    with (
        pytest.raises(ValueError, match=r"takes limits by the names of resources"),
        slither.Beam(workers=1, pool={"rlimits": {"nofil": 1}}),
    ):
        pass


def test_the_error_goes_through_a_pickle() -> None:
    error = to_error({"kind": "memory", "message": "too much", "limit": 1})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is slither.MemoryExceeded
    assert (str(again), again.facts) == (str(error), error.facts)  # type: ignore[attr-defined]
