"""Asynchronous results that are closed before their end: their input is closed as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import driven
import pytest

import slither
from slither import Pipe, item
from slither._types import Payload

PATIENCE = 60
Start = Callable[[slither.Beam, AsyncIterator[int]], slither.AsyncResults[Payload]]

RUNS: dict[str, Start] = {
    "amap": lambda beam, items: beam.amap(driven.echo, items),
    "amap of a size": lambda beam, items: beam.amap(driven.echo, items, batch_size=1),
    "amap of several": lambda beam, items: beam.amap(pow, items, [1] * 1_000),
    "astream": lambda beam, items: beam.astream(Pipe("same").beam("same", item), items),
}


class Source:
    """Gives numbers, and notes whether it is closed, and how often it is asked."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.pulled = 0
        self.closed = asyncio.Event()

    async def items(self) -> AsyncIterator[int]:
        try:
            while self.pulled < self.most:
                self.pulled += 1
                yield self.pulled
                await asyncio.sleep(0)
            # The one who pulls waits here.
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.closed.set()


def _run(test: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(test(), PATIENCE))  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [3, 1_000])
@pytest.mark.parametrize("name", RUNS)
def test_results_that_are_closed_close_their_input(
    beam: slither.Beam, name: str, most: int
) -> None:
    async def main() -> None:
        source, tasks = Source(most), asyncio.all_tasks()
        results = RUNS[name](beam, source.items())
        assert await anext(results)
        await results.aclose()
        assert source.closed.is_set()
        assert asyncio.all_tasks() == tasks
        await results.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(results)

    _run(main)


@pytest.mark.parametrize("name", RUNS)
def test_another_task_closes_results_that_are_waited_for(beam: slither.Beam, name: str) -> None:
    async def main() -> None:
        source = Source(0)
        results = RUNS[name](beam, source.items())

        async def drain() -> list[Payload]:
            return [value async for value in results]

        task = asyncio.create_task(drain())
        while not results._run.identity:
            await asyncio.sleep(0)
        await results.aclose()
        assert await task == []
        assert source.closed.is_set() or not source.pulled

    _run(main)


def test_results_that_were_never_asked_for_can_be_closed(beam: slither.Beam) -> None:
    async def main() -> None:
        source = Source(3)
        await beam.amap(driven.echo, source.items()).aclose()
        assert not source.pulled

    _run(main)


def test_a_run_that_fails_closes_its_input(beam: slither.Beam) -> None:
    async def main() -> None:
        source = Source(1_000)
        with pytest.raises(slither.CallError, match="refused"):
            [value async for value in beam.amap(driven.refuse, source.items())]
        assert source.closed.is_set()

    _run(main)


def test_a_run_within_a_run_is_closed_with_it(beam: slither.Beam) -> None:
    async def main() -> None:
        source = Source(1_000)
        inner = beam.amap(driven.echo, source.items())
        outer = beam.amap(driven.echo, inner)
        assert await anext(outer) == 1
        await outer.aclose()
        assert source.closed.is_set()
        assert inner._run.ended

    _run(main)


def test_an_input_that_does_not_heed_its_end_is_not_pulled_on(beam: slither.Beam) -> None:
    async def main() -> None:
        pulled = 0

        async def items() -> AsyncIterator[int]:
            nonlocal pulled
            while True:
                pulled += 1
                yield pulled
                try:
                    await asyncio.sleep(3_600 if pulled == 1 else 0)
                except asyncio.CancelledError:
                    continue

        results = beam.amap(driven.echo, items())
        assert await anext(results) == 1
        await results.aclose()
        assert pulled == 2

    _run(main)
