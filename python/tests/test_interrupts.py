"""What comes between two steps breaks nothing: exceptions of signal handlers, and finalisers."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
from pathlib import Path

import driven
import injection
import pytest

import slither

pytestmark = pytest.mark.usefixtures("escript")

# A stride that is no multiple of how many steps a loop takes; each run begins at another point.
_EVERY = {"submit": 97, "gather": 149, "map": 499, "map_and_stop": 499, "table": 211, "close": 29}


# What is raised while a generator is finalised goes to sys.unraisablehook, as Python has it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("effect", injection.EFFECTS)
@pytest.mark.parametrize("body", injection.BODIES)
def test_a_beam_is_right_or_closed_after_any_step(body: str, effect: str) -> None:
    first = 1 + os.getpid() % _EVERY[body]
    found = injection.through(
        injection.BODIES[body],
        injection.EFFECTS[effect],
        injection.make,
        every=_EVERY[body],
        first=first,
    )
    assert found.points > 2
    assert found.closed == 0 or body == "close"


def test_a_time_limit_in_a_handler_is_its_exception() -> None:
    with slither.Beam(workers=1) as beam:
        shared = beam.store("limits")
        shared["short"], shared["long"] = "B", "A" * 100_000
        found = list(beam.map(driven.limit_itself, range(3)))
        assert [hits > 0 for hits in found] == [True] * 3
        assert beam.status()["died"] == 0


def test_a_time_limit_that_comes_after_its_handler_is_nobodys(beam: slither.Beam) -> None:
    assert list(beam.map(driven.limit_too_late, [0.01, 0.01])) == ["done", "done"]
    assert beam.submit(driven.double, 4).result() == 8


def test_a_handler_keeps_the_signal_handlers_it_sets(beam: slither.Beam) -> None:
    assert beam.submit(driven.own_signal_handler).result() == [True, True]


def test_a_finaliser_that_asks_in_one_of_our_threads_is_refused(beam: slither.Beam) -> None:
    told: list[BaseException] = []

    def ask() -> None:
        try:
            beam.status()
        except slither.BeamError as error:
            told.append(error)

        done.set()

    done = threading.Event()
    beam._link.writer.order(ask)
    assert done.wait(60)
    assert "would wait for itself" in str(told)
    assert beam.submit(driven.double, 4).result() == 8


def test_garbage_that_holds_a_map_and_a_walk_is_harmless(beam: slither.Beam) -> None:
    shared = beam.store("walked")
    shared.put_many({str(n): n for n in range(1_000)})
    for _ in range(20):
        holder: list[object] = []
        results = beam.map(driven.echo, itertools.count(), batch_size=1)
        walk = iter(shared.items())
        next(results), next(walk)
        holder += [holder, results, walk]
        del holder, results, walk
        gc.collect()
    assert list(beam.map(driven.double, range(3))) == [0, 2, 4]
    assert shared["7"] == 7


def test_a_signal_handler_may_use_the_beam_while_its_thread_waits(
    beam: slither.Beam, tmp_path: Path
) -> None:
    seen: list[object] = []
    other = tmp_path / "other"

    def use(*_of: object) -> None:
        seen.append(beam.submit(driven.double, 21).result())
        other.touch()

    before = signal.signal(signal.SIGALRM, use)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        paths = [str(tmp_path / "one"), str(other)]
        assert beam.submit(driven.wait_for, paths).result() == paths[0]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen == [42]


def _as_raised(error: BaseException) -> BaseException | None:
    # Where it comes as a condition of Python's takes its lock again, that fails to give it back.
    lost = type(error) is RuntimeError and str(error) == "cannot release un-acquired lock"
    return error.__context__ if lost else error


def test_a_time_limit_that_is_an_oserror_is_not_taken_for_a_lost_connection(
    beam: slither.Beam,
) -> None:
    def late(*_of: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    # Python drops what a handler raises within a callback of its garbage collector; one of the
    # libraries that tests use has such a callback.
    gc.disable()
    try:
        for round_ in range(40):
            signal.setitimer(signal.ITIMER_REAL, 0.001 + round_ / 20_000, 1.0)
            with pytest.raises((TimeoutError, RuntimeError)) as raised:
                all(beam.submit(driven.double, 4).result() == 8 for _ in itertools.count())
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert isinstance(_as_raised(raised.value), TimeoutError)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert list(beam.map(driven.double, range(5))) == [0, 2, 4, 6, 8]
