"""Raises an exception, or collects garbage, before each bytecode of Slither's in turn.

After each, the Beam has to give right results, or to say that it is closed. As a script it goes
through all points, and prints how many there were: ``python python/tests/injection.py``.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

import driven

import slither
from slither.store import Table

if TYPE_CHECKING:
    from _typeshed import TraceFunction

_OURS = os.path.dirname(os.path.abspath(slither.__file__)) + os.sep
# Seconds after which something hangs, and within which a closed Beam has to say so.
_HANGS, _SOON = 30, 1.0
_CALLS = 10

Body = Callable[[slither.Beam], object]


class Injected(Exception):
    """An ordinary exception, such as a time limit's."""


class Tally(NamedTuple):
    """What came of the points of one body: all have to be right or closed."""

    points: int
    right: int
    closed: int


class Hung(AssertionError):
    """Something waited for longer than anything may."""


@contextmanager
def watched() -> Iterator[None]:
    def hung(_number: int, _frame: FrameType | None) -> None:
        raise Hung(f"nothing has come for {_HANGS} s")

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, _HANGS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def traced(body: Callable[[], object], at: Callable[[int], None]) -> int:
    """Run ``body``, calling ``at`` before each bytecode of ours; return their number."""
    count = 0

    def step(_frame: FrameType, event: str, _argument: object) -> TraceFunction:
        nonlocal count
        if event == "opcode":
            count += 1
            at(count)
        return step

    def enter(frame: FrameType, _event: str, _argument: object) -> TraceFunction | None:
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        # Python 3.13 tells of steps only where a frame has who is told when it asks for them,
        frame.f_trace = step
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    before = sys.gettrace()
    # and 3.12 only where one has asked for them before.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(enter)
    try:
        body()
    finally:
        sys.settrace(before)
    return count


def submit(beam: slither.Beam) -> object:
    return beam.submit(driven.double, 4).result()


def gather(beam: slither.Beam) -> object:
    return beam.gather(driven.double)(4)


def map_some(beam: slither.Beam) -> object:
    return list(beam.map(driven.double, iter(range(6))))


def map_and_stop(beam: slither.Beam) -> object:
    results = beam.map(driven.double, iter(range(100)), batch_size=2)
    found = next(results)
    results.close()
    return found


def table(beam: slither.Beam) -> object:
    shared = beam.store("injected")
    shared["a"] = 1
    return [shared["a"], dict(shared.items())]


def close(beam: slither.Beam) -> None:
    beam.close()


BODIES: dict[str, Body] = {
    "submit": submit,
    "gather": gather,
    "map": map_some,
    "map_and_stop": map_and_stop,
    "table": table,
    "close": close,
}
EFFECTS: dict[str, type[BaseException] | None] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "exception": Injected,
    "gc": None,
}


class Cycle:
    """Garbage that only the collector finds: a map and a walk that are not at their ends."""

    def __init__(self, beam: slither.Beam, shared: Table[object, object]) -> None:
        self.me = self
        if not shared:
            shared.put_many({str(n): n for n in range(1_000)})
        self.results = beam.map(driven.double, iter(range(100)), batch_size=2)
        self.walk = iter(shared.items())


def right(beam: slither.Beam, token: int) -> bool:
    """Make some calls of each kind; tell whether they were answered, or the Beam is closed."""
    began = time.monotonic()
    shared = beam.store("checked")
    for n in range(token, token + _CALLS):
        assert beam.submit(driven.double, n).result() == 2 * n
        assert list(beam.map(driven.double, [n, n + 1])) == [2 * n, 2 * n + 2]
        shared["n"] = n
        assert shared["n"] == n
    return time.monotonic() > began


def one(beam: slither.Beam, body: Body, point: int, effect: type[BaseException] | None) -> bool:
    """Inject at one point; False where the Beam says that it is closed."""
    cycle: list[Cycle] = []
    if effect is None:
        with suppress(slither.BeamClosed):
            cycle.append(Cycle(beam, beam.store("checked")))
            next(cycle[0].results)
            next(cycle[0].walk)

    def at(count: int) -> None:
        if count != point:
            return
        if effect is not None:
            raise effect
        cycle.clear()
        gc.collect()

    with watched():
        with suppress(KeyboardInterrupt, Injected):
            traced(lambda: body(beam), at)
        began = time.monotonic()
        try:
            right(beam, 100 * point)
        except slither.BeamClosed:
            assert time.monotonic() < began + _SOON
            return False
    return True


def points(body: Body, make: Callable[[], slither.Beam]) -> int:
    """Count the bytecodes, once those that run for the first time only have run."""
    with make() as beam:
        beam.wait_ready()
        right(beam, 0)
        if body is not close:
            body(beam)
        return traced(lambda: body(beam), lambda _count: None)


def through(
    body: Body,
    effect: type[BaseException] | None,
    make: Callable[[], slither.Beam],
    every: int = 1,
    first: int = 1,
) -> Tally:
    """Inject at each ``every``-th point from the ``first`` on."""
    gc.collect()
    gc.freeze()
    tried = closed = 0
    beam = make()
    try:
        for point in range(first, points(body, make) + 1, every):
            tried += 1
            if not one(beam, body, point, effect):
                closed += 1
                beam.close()
                beam = make()
            elif body is close:
                # An interruption before its first step leaves it open.
                assert point < 20, f"open after an interruption at step {point} of close()"
    finally:
        beam.close()
        gc.unfreeze()
    return Tally(tried, tried - closed, closed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--body", choices=BODIES, action="append")
    parser.add_argument("--effect", choices=EFFECTS, action="append")
    chosen = parser.parse_args()
    for name in chosen.body or BODIES:
        for effect in chosen.effect or EFFECTS:
            began = time.monotonic()
            found = through(BODIES[name], EFFECTS[effect], make, chosen.every)
            print(name, effect, found, f"{time.monotonic() - began:.0f} s", flush=True)


def make() -> slither.Beam:
    return slither.Beam(workers=1)


if __name__ == "__main__":
    main()
