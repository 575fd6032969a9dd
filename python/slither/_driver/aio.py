"""Runs for asyncio: the same as the plain ones, but nobody's thread waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slither._driver.runs import Run
    from slither._types import Payload


async def results(
    run: Run, items: Iterable[Payload] | AsyncIterable[Payload]
) -> AsyncIterator[Payload]:
    """Pull, send and hand on, in the event loop of whoever asks."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()

    def wake() -> None:
        # The thread that reads calls this; the loop may be closed by then.
        if not loop.is_closed():
            loop.call_soon_threadsafe(news.set)

    run.wake = wake  # type: ignore[method-assign]
    run.link.keep_reading()
    feeder: asyncio.Task[None] | None = None
    try:
        run.begin()
        room = asyncio.Event()
        room.set()
        feeder = loop.create_task(_feed(run, items, room))
        while not run.ended:
            if not run.has_news():
                await _either(news, feeder)
                news.clear()
            for value in run.take():
                yield value
            room.set()
    finally:
        if feeder is not None:
            feeder.cancel()
        run.close()
        run.link.let_be()
    run.finish()


async def _either(news: asyncio.Event, feeder: asyncio.Task[None]) -> None:
    waiting = asyncio.ensure_future(news.wait())
    try:
        if feeder.done():
            # What it raised is ours to raise: a lost connection, or a fault of this module.
            feeder.result()
            await waiting
        else:
            await asyncio.wait((waiting, feeder), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _feed(
    run: Run, items: Iterable[Payload] | AsyncIterable[Payload], room: asyncio.Event
) -> None:
    source = aiter(items) if isinstance(items, AsyncIterable) else None
    plain = None if isinstance(items, AsyncIterable) else iter(items)
    while True:
        while not (count := run.room()):
            room.clear()
            await room.wait()
        batch: list[Payload] = []
        try:
            if source is not None:
                ended = await _take(source, batch, count)
            else:
                assert plain is not None
                batch.extend(islice(plain, count))
                ended = len(batch) < count
        except Exception as error:  # noqa: BLE001 - the caller's input: raised at the end
            run.feed(batch)
            run.end(error)
            return
        run.feed(batch)
        if ended:
            run.end()
            return
        # A plain iterable never waits: others have their turn here.
        await asyncio.sleep(0)


async def _take(source: AsyncIterator[Payload], batch: list[Payload], count: int) -> bool:
    while len(batch) < count:
        try:
            batch.append(await anext(source))
        except StopAsyncIteration:
            return True
    return False
