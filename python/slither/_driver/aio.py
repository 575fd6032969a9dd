"""Runs for asyncio: the same as the plain ones, but no thread waits.

The event loop that asks for results runs all of it, but for ``wake``, which the reader calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from slither._driver.run import PATIENCE, Run, fill
from slither._errors import SlitherError
from slither._types import Payload


async def results(
    run: Run, items: Iterable[Payload] | AsyncIterable[Payload]
) -> AsyncGenerator[Payload, None]:
    """Pull, send and hand on, in the event loop of whoever asks.

    Once it ends or is closed nothing pulls the items, and a generator of them is closed.
    """
    loop = asyncio.get_running_loop()
    news = asyncio.Event()

    def wake() -> None:
        # The loop raises this if it is closed by the time the reader calls.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(news.set)

    run.inbox.wake, run.may_wait = wake, False
    feeder: asyncio.Task[None] | None = None
    try:
        run.begin()
        room = asyncio.Event()
        room.set()
        slow = _Slow(run, room)
        if isinstance(items, AsyncIterable):
            feeder = loop.create_task(slow.feed(items))
        else:
            feeder = loop.create_task(_feed(run, items, room))
        while not run.ended:
            while not run.has_news():
                await _either(news, feeder)
                news.clear()
            for value in run.take():
                yield value
            room.set()
            slow.look()
    finally:
        run.close()
        if feeder is not None:
            feeder.cancel()
            # Its source has run its ``finally`` by then; asyncio logs what that raised.
            await asyncio.wait((feeder,))
    run.finish()


async def _either(news: asyncio.Event, feeder: asyncio.Task[None]) -> None:
    waiting = asyncio.ensure_future(news.wait())
    try:
        if feeder.done():
            # Raises the feeder's exception, such as a lost connection, to the task that asks.
            feeder.result()
            await waiting
        else:
            await asyncio.wait((waiting, feeder), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _feed(run: Run, items: Iterable[Payload], room: asyncio.Event) -> None:
    plain = iter(items)
    while not run.input_ended:
        until = fill(run, plain, once=True)
        if until is not None:
            # A plain iterable awaits nothing: other tasks have their turn here.
            wait = until - time.monotonic() if run.is_out() else 0
            await asyncio.sleep(max(0, wait))
        elif not run.input_ended:
            room.clear()
            await room.wait()


async def _room(run: Run, room: asyncio.Event) -> int:
    while not (count := run.room()):
        room.clear()
        await room.wait()
    return count


class _Slow:
    """Feeds what an asynchronous input gives: as much as there is where it lets workers wait."""

    def __init__(self, run: Run, room: asyncio.Event) -> None:
        self._run, self._room = run, room
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False

    async def feed(self, items: AsyncIterable[Payload]) -> None:
        run, source = self._run, aiter(items)
        try:
            while not (run.input_ended or run.ended):
                if len(run.partial) >= await _room(run, self._room):
                    self._send(paused=False)
                    continue
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    break
                except Exception as error:  # noqa: BLE001 - the caller's: raised at the end
                    run.input_error = error
                    break
                run.partial.append(item)
                self._wait()
        finally:
            self._stop()
            if isinstance(source, AsyncGenerator):
                await source.aclose()
        run.source_ended = True
        while not (run.input_ended or run.ended):
            run.finish_input()
            if not run.input_ended:
                self._room.clear()
                await self._room.wait()

    def look(self) -> None:
        """Send the few items that there are, where they are late and a worker can take them."""
        if self._is_late and not self._run.ended:
            self._send(paused=True)

    def _late(self) -> None:
        self._timer, self._is_late = None, True
        # The same error is raised for whoever waits for results.
        with contextlib.suppress(SlitherError):
            self.look()

    def _send(self, *, paused: bool) -> None:
        self._stop()
        self._run.flush(paused=paused)
        self._is_late = paused and bool(self._run.partial)
        # What is left of a burst is late as well where nothing comes after it.
        self._wait()

    def _wait(self) -> None:
        if self._run.partial and self._timer is None and not self._is_late:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PATIENCE, self._late)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
