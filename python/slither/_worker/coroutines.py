"""Handlers that are coroutines: one event loop per process, made when it is first needed.

The loop runs in the main thread, for :mod:`slither._worker.execute`, while a call does.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from slither._worker import forked, timed
from slither._worker.failure import Raised
from slither._worker.watcher import watching
from slither._worker.yielded import GoneError, Stream

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._worker.ports import Line

Steps = Generator[Awaitable[Any], Any, Any]
"""What may have to wait: it yields what is to be awaited, and gets what comes of that."""

# Seconds that tasks get to end which a call has left behind, and how often the worker looks for
# tasks that these start meanwhile.
_LAST_SECONDS = 1.0
_ROUNDS = 10
# An item that is cancelled for its time has this long to end, in ns, or a tenth of that time.
_LATE_NS = 100_000_000

_loop: asyncio.AbstractEventLoop | None = None
# The tasks of cursors that are open, by the number of their call.
_kept: dict[int, set[asyncio.Task[Payload]]] = {}


class Turn:
    """One call on the event loop."""

    def __init__(self, call: int, line: Line | None) -> None:
        """Take the call's id; without a line nothing can cancel it."""
        self._call = call
        self._line = line
        self._loop = _current_loop()
        self._news: asyncio.Event | None = None
        self._task: asyncio.Task[object] | None = None

    def run(self, awaitable: Awaitable[Payload]) -> Payload:
        """Wait for a coroutine and return what it returns."""
        return self._complete(awaitable)

    def items(
        self,
        handler: Callable[..., Payload],
        items: list[Payload],
        first: Awaitable[Payload],
        at_once: int,
        tell: Callable[[BaseException], dict[str, Payload]],
    ) -> list[Payload]:
        """Run an item handler on items, some at once; ``first`` is the first item's coroutine.

        ``tell`` describes what one item has raised.
        """
        results: list[Payload] = [None] * len(items)
        rest = iter(range(len(items)))

        async def one(index: int) -> Payload:
            try:
                made = first if index == 0 else handler(items[index])
                return await made if hasattr(type(made), "__await__") else made
            except BaseException as error:
                forked.end(error)
                if self._is_gone():
                    raise
                return Raised(tell(error))

        async def hand() -> None:
            for index in rest:
                results[index] = await one(index)
                forked.end()

        async def all_hands() -> list[Payload]:
            await asyncio.gather(*(hand() for _ in range(min(at_once, len(items)))))
            return results

        found: list[Payload] = self._complete(all_hands())
        return found

    def steps(
        self,
        steps: Steps,
        first: Awaitable[Payload],
        cursor: int,
        ended: Callable[[], bool],
    ) -> None:
        """Take steps to their end, of which ``first`` is awaited first.

        They draw from the cursor of that number. Tasks that its handler has started live on until
        it has ``ended``; they rest between calls, as the loop does.
        """

        async def take() -> None:
            awaited = first
            try:
                while True:
                    try:
                        value = await awaited
                    except BaseException as error:  # noqa: BLE001 - the steps decide
                        awaited = steps.throw(error)
                    else:
                        awaited = steps.send(value)
            except StopIteration:
                return

        _kept.pop(cursor, None)
        others = _all_kept()

        def keep() -> None:
            if not ended():
                _kept[cursor] = asyncio.all_tasks(self._loop) - others

        self._complete(take(), keep=keep)

    async def in_time(
        self,
        handler: Callable[..., Payload],
        items: list[Payload],
        first: Awaitable[Payload],
        at_once: int,
        *,
        tell: Callable[[BaseException], dict[str, Payload]],
        limit: int,
    ) -> AsyncGenerator[Payload, None]:
        """Do as :meth:`items`, with ``limit`` ms for each item; give results in order.

        An item over its time is cancelled alone. One that goes on even so, or that holds up the
        loop, is ended by BEAM with the worker.
        """
        loop = self._loop
        results: list[asyncio.Future[Payload]] = [loop.create_future() for _ in items]
        rest = iter(range(len(items)))
        out = _Out(limit)

        async def one(index: int) -> Payload:
            made = first if index == 0 else handler(items[index])
            if not hasattr(type(made), "__await__"):
                return made
            task = loop.create_task(_outcome(_Steps(made, index, out)))
            try:
                if await asyncio.wait({task}, timeout=limit / 1_000) == (set(), {task}):
                    task.cancel()
                    await asyncio.wait({task})
                    return timed.overdue(limit)
            finally:
                task.cancel()
            value, error = task.result()
            if error is not None:
                raise error
            return value

        async def hand() -> None:
            for index in rest:
                out.begin(index)
                try:
                    result = await one(index)
                except BaseException as error:
                    forked.end(error)
                    if self._is_gone():
                        raise
                    result = Raised(tell(error))
                forked.end()
                out.end(index)
                results[index].set_result(result)

        hands = [loop.create_task(hand()) for _ in range(min(at_once, len(items)))]
        try:
            for result in results:
                yield await result
        finally:
            for task in hands:
                task.cancel()

    def drain(self, generator: AsyncGenerator[Payload, None], stream: Stream) -> None:
        """Take all that an asynchronous generator yields, at the consumer's pace."""

        async def drain() -> None:
            self._news = asyncio.Event()
            try:
                async for value in generator:
                    stream.put(value)
                    while stream.full and not stream.gone:
                        self._news.clear()
                        # Ask again, as credit may have come before the event was cleared.
                        if stream.full:
                            await self._news.wait()
                    if stream.gone:
                        raise GoneError
            finally:
                await generator.aclose()

        self._complete(drain(), stream)

    def _complete(
        self,
        work: Awaitable[Payload],
        stream: Stream | None = None,
        keep: Callable[[], None] | None = None,
    ) -> Payload:
        self._task = self._loop.create_task(_outcome(work))
        try:
            with watching(self._line, lambda: self._look(stream)):
                value, error = self._loop.run_until_complete(self._task)
        finally:
            if keep is not None:
                keep()
            _clean_up(self._loop)
        if error is not None:
            raise error
        return value

    # Runs in the watcher's thread.
    def _look(self, stream: Stream | None) -> None:
        if stream is not None:
            stream.flush()
        # The loop raises this once the call is over and has closed it.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        if self._news is not None:
            self._news.set()
        if self._is_gone() and self._task is not None:
            self._task.cancel()
            # Cancel once: the handler's own clean-up must not be cancelled in its turn.
            self._task = None

    def _is_gone(self) -> bool:
        return self._line is not None and self._line.is_gone(self._call)


class _Out:
    """The items that coroutines are at.

    BEAM sees the one whose code the loop is in, and while it waits the oldest.
    """

    def __init__(self, limit: int) -> None:
        # BEAM is to end a worker only where the item could not be cancelled here first.
        self._late_ns = max(limit * 100_000, _LATE_NS)
        self._since: dict[int, int] = {}

    def begin(self, index: int) -> None:
        self._since[index] = time.monotonic_ns()
        self.enter(index)

    def end(self, index: int) -> None:
        del self._since[index]
        self.leave()

    def enter(self, index: int) -> None:
        timed.begin(index + 1, self._since[index] + self._late_ns)

    def leave(self) -> None:
        oldest = next(iter(self._since), None)
        if oldest is None:
            timed.rest()
        else:
            self.enter(oldest)


class _Steps:
    """An item's awaitable, noted while the loop is in its code: it may hold up all others."""

    def __init__(self, made: Awaitable[Payload], index: int, out: _Out) -> None:
        self._made = made
        self._index = index
        self._out = out

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._made.__await__()
        if not isinstance(steps, Generator):
            return (yield from steps)
        step: Callable[[], Any] = functools.partial(steps.send, None)
        while True:
            self._out.enter(self._index)
            try:
                awaited = step()
            except StopIteration as stop:
                return stop.value
            finally:
                self._out.leave()
            try:
                step = functools.partial(steps.send, (yield awaited))
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:  # noqa: BLE001 - the item's code decides
                step = functools.partial(steps.throw, error)


async def _outcome(work: Awaitable[Payload]) -> tuple[Payload, BaseException | None]:
    # An exception that is returned rather than raised gets no frames of asyncio in its traceback,
    # and a SystemExit does not stop the loop.
    try:
        value = await work
        forked.end()
        return value, None
    except BaseException as error:  # noqa: BLE001 - raised again by who runs the loop
        forked.end(error)
        return None, error


def _current_loop() -> asyncio.AbstractEventLoop:
    global _loop
    if _loop is None or _loop.is_closed():
        _loop = asyncio.new_event_loop()
    return _loop


def _all_kept() -> set[asyncio.Task[Payload]]:
    return {task for tasks in _kept.values() for task in tasks}


def _clean_up(loop: asyncio.AbstractEventLoop) -> None:
    """End the tasks that a call has left, so that they don't run on in the next."""
    global _loop
    deadline = loop.time() + _LAST_SECONDS
    for _ in range(_ROUNDS):
        left = asyncio.all_tasks(loop) - _all_kept()
        if not left:
            return
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=max(0, deadline - loop.time())))
    # Tasks that have not ended would run on during the
    # next call, so the worker gives up their loop.
    logging.getLogger("slither").warning(
        "%d asyncio tasks of a call went on after it was over; the worker has a new event loop",
        len(asyncio.all_tasks(loop) - _all_kept()),
    )
    _kept.clear()
    loop.close()
    _loop = None
