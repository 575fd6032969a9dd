"""What a run gives to the program: its results as they come, for a loop or an asynchronous one.

The thread, or the event loop, that asks for results runs all of this; any thread may close it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from itertools import chain
from typing import Generic, TypeVar

from slither._driver import aio
from slither._driver.run import Run, results
from slither._summary import Summary
from slither._types import Payload

R = TypeVar("R")


class _OfRun:
    _run: Run

    @property
    def summary(self) -> Summary:
        """The account of the run; of what it has done so far, until it has ended."""
        return self._run.summary or self._run.so_far()


class Results(chain[R], _OfRun):
    """The results of a map, or a pipe's outputs as ``(output, payload)``, as they come.

    Nothing is pulled or sent before the first is asked for. :meth:`close`, or dropping it, stops
    the run and frees the workers.
    """

    # A chain of the lists that come: C code hands its items on, so that an exception of a signal
    # handler can't come between the one that takes a result and the one who asked for it.

    @classmethod
    def of(cls, run: Run, items: Iterable[Payload]) -> Results[R]:
        """Return the results of a run over the items."""
        made = cls.from_iterable(results(run, items))
        made._run = run  # type: ignore[attr-defined]
        return made  # type: ignore[return-value]

    def close(self) -> None:
        """Stop the run; from any thread, and from a finaliser, too."""
        self._run.close()


class AsyncResults(AsyncIterator[R], _OfRun, Generic[R]):
    """The results of a map, or the outputs of a pipe, for ``async for``; as :class:`Results`."""

    def __init__(self, run: Run, items: Iterable[Payload] | AsyncIterable[Payload]) -> None:
        """Take the run, and the items that it is over."""
        self._generator: AsyncGenerator[R, None] = aio.results(run, items)
        self._run = run

    def __aiter__(self) -> AsyncIterator[R]:
        """Return what a loop is the fastest with."""
        return self._generator

    async def __anext__(self) -> R:
        """Return the next result, waiting for it if need be."""
        return await anext(self._generator)

    async def aclose(self) -> None:
        """Stop the run, and the pulling of its items; a generator of them is closed."""
        self._run.close()
        # A task that waits for a result is woken by that, and does the rest.
        if not getattr(self._generator, "ag_running", False):
            await self._generator.aclose()
