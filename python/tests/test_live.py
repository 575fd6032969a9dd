"""Inputs that pause, and batches whose size is found: what was given does not wait for more."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import driven
import pytest

import slither
from slither import Pipe
from slither._types import Payload

# Seconds between two items of an input that pauses, and how many it gives.
INTERVAL, ITEMS = 0.5, 8

PIPES = {
    "fixed": Pipe("fixed").python("same", driven.echo, each=True, batch_size=64),
    "found": Pipe("found").python("same", driven.echo, each=True),
}


def _pausing(pulled: list[int]) -> Iterator[int]:
    for n in range(ITEMS):
        time.sleep(INTERVAL)
        pulled.append(n)
        yield n


def _mapped(beam: slither.Beam, items: Iterable[int], **options: Payload) -> Iterable[int]:
    return beam.map(driven.echo, items, **options)


def _streamed(beam: slither.Beam, items: Iterable[int], kind: str) -> Iterable[int]:
    return (value for _, value in beam.stream(PIPES[kind], items))


WAYS: dict[str, Callable[[slither.Beam, Iterable[int]], Iterable[int]]] = {
    "map": _mapped,
    "map of a size": lambda beam, items: _mapped(beam, items, batch_size=64),
    "stream": lambda beam, items: _streamed(beam, items, "found"),
    "stream of a size": lambda beam, items: _streamed(beam, items, "fixed"),
}


@pytest.mark.parametrize("way", WAYS)
def test_results_come_before_a_pausing_input_is_pulled_on(beam: slither.Beam, way: str) -> None:
    run = WAYS[way]
    assert list(run(beam, [1, 2])) == [1, 2]
    pulled: list[int] = []
    behind = []
    got = []
    for value in run(beam, _pausing(pulled)):
        got.append(value)
        behind.append(len(pulled) - value - 1)
    assert got == list(range(ITEMS))
    # A busy machine may be later than the run waits, but not each time.
    assert 0 in behind[:-1]


def test_several_outputs_of_an_item_come_while_a_plain_input_pauses(beam: slither.Beam) -> None:
    def items() -> Iterator[int]:
        # Ends when most of what came of the items has been handed on.
        for n in range(500):
            if n >= 20 and len(got) >= 1.5 * n:
                return
            time.sleep(0.05)
            yield n

    got: list[int] = []
    pipe = Pipe("several").python("twice", driven.twice, cardinality="many")
    for _, value in beam.stream(pipe, items()):
        got.append(value)
    assert len(got) < 2 * 500
    assert got == sorted([*range(len(got) // 2)] * 2)


@pytest.mark.parametrize("kind", PIPES)
def test_asynchronous_runs_give_results_while_their_input_pauses(
    beam: slither.Beam, kind: str
) -> None:
    # Each item is given only once the result of the one before it is there.
    async def answers() -> list[int]:
        taken = asyncio.Event()
        taken.set()

        async def items() -> AsyncIterator[int]:
            for n in range(5):
                await taken.wait()
                taken.clear()
                yield n

        got = []
        async for _, value in beam.astream(PIPES[kind], items()):
            got.append(value)
            taken.set()
        taken.set()
        async for value in beam.amap(driven.echo, items(), batch_size=_size(kind)):
            got.append(value)
            taken.set()
        return got

    assert asyncio.run(answers()) == 2 * list(range(5))


def _size(kind: str) -> int | None:
    return 64 if kind == "fixed" else None


def test_a_plain_input_that_pauses_is_given_to_an_event_loop_as_it_comes(
    beam: slither.Beam,
) -> None:
    async def behind() -> list[int]:
        pulled: list[int] = []
        run = beam.amap(driven.echo, _pausing(pulled))
        return [len(pulled) - value - 1 async for value in run]

    assert 0 in asyncio.run(behind())[:-1]


def test_batches_begin_with_one_item_and_grow(beam: slither.Beam) -> None:
    sizes = list(beam.map(driven.sizes, range(3_000)))
    assert sizes[0] == 1
    assert max(sizes) > 8
    piped = beam.run(Pipe("sizes").python("sizes", driven.sizes), range(3_000))["default"]
    assert piped[0] == 1
    assert max(piped) > 8


def test_a_batch_time_bounds_what_is_found(beam: slither.Beam) -> None:
    sizes = list(beam.map(driven.slow_sizes, range(60), batch_time=0.02))
    assert max(sizes) <= 4


@pytest.mark.parametrize("on_error", ["skip", "return"])
@pytest.mark.parametrize("ordering", ["preserve", "as_completed"])
def test_found_sizes_lose_nothing(beam: slither.Beam, on_error: str, ordering: str) -> None:
    options: Payload = {"on_error": on_error, "ordering": ordering}
    got = list(beam.map(driven.no_fives, iter(range(500)), **options))
    good = [n for n in got if not isinstance(n, Exception)]
    assert sorted(good) == [n for n in range(500) if n % 10 != 5]
    assert len(got) == (500 if on_error == "return" else 450)


def test_what_an_input_raises_comes_after_the_results_before_it(beam: slither.Beam) -> None:
    def items() -> Iterator[int]:
        yield from range(200)
        raise OSError("the disk is gone")

    got: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        got.extend(beam.map(driven.echo, items()))
    assert got == list(range(200))


def test_an_input_without_an_end_is_pulled_a_bounded_part_ahead(beam: slither.Beam) -> None:
    pulled = itertools.count()
    results = beam.map(driven.echo, pulled, max_in_flight=4)
    for n in range(2_000):
        assert next(results) == n
    results.close()
    # Four batches, and for each of two workers one more, beside the one whose results are read.
    assert next(pulled) < 2_000 + 8 * 1_000


@pytest.mark.parametrize("kind", PIPES)
@pytest.mark.parametrize("burst", [2, 3, 4, 7])
def test_what_is_left_of_a_burst_does_not_wait_for_the_next_item(
    beam: slither.Beam, kind: str, burst: int
) -> None:
    # Each burst is given only once the results of all items before it are there.
    async def answers() -> list[int]:
        got: list[int] = []
        news = asyncio.Event()

        async def items() -> AsyncIterator[int]:
            for n in range(3 * burst):
                while n % burst == 0 and len(got) < n:
                    await news.wait()
                    news.clear()
                yield n
            while len(got) < 3 * burst:
                await news.wait()
                news.clear()

        async for value in beam.amap(driven.echo, items(), batch_size=_size(kind)):
            got.append(value)
            news.set()
        return got

    assert asyncio.run(asyncio.wait_for(answers(), 60)) == list(range(3 * burst))
