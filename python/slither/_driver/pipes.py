"""What a Beam does with a pipe.

A method returns at once, or runs the pipe in the thread, or the event loop, that calls it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from slither._driver import aio
from slither._driver.lifetime import Lifetime
from slither._driver.pipe_run import Output, PipeRun, gathered
from slither._driver.results import AsyncResults, Results
from slither._driver.run import results
from slither._driver.settings import StrPath
from slither._outputs import Outputs
from slither._types import Payload

if TYPE_CHECKING:
    from slither._pipe.definition import Pipe

T = TypeVar("T")
AnyIterable: TypeAlias = Iterable[T] | AsyncIterable[T]


class Pipes(Lifetime):
    """The runs of pipes on a Beam."""

    def stream(
        self,
        pipe: Pipe,
        iterable: Iterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> Results[Output]:
        """Run a pipe, and give ``(output, payload)`` as they come, in order for each output.

        ``iterable`` may be infinite: it is pulled in the thread that asks for outputs, some
        hundred items ahead of what the pipe can work on, and no further.

        With ``checkpoint``, a file, the run records what is finished: the same call after a
        crash goes on from there, and gives everything once. A checkpoint of another pipe, of
        handlers with another source or of another input is refused with what differs, unless
        ``resume`` is ``"anyway"``; one that another run uses is refused, too.
        ``trace`` and ``progress`` are as for :meth:`map`.

        Raises :class:`slither.RunError` when the pipe stops at an item that failed, after what
        came out before it, and what the input raises as it is.
        """
        run = PipeRun.over(
            self, pipe, iterable, progress, checkpoint=checkpoint, resume=resume, trace=trace
        )
        return Results.of(run, iterable)

    def astream(
        self,
        pipe: Pipe,
        iterable: AnyIterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> AsyncResults[Output]:
        """Give the outputs for ``async for``; otherwise as :meth:`stream`."""
        run = PipeRun.over(
            self, pipe, iterable, progress, checkpoint=checkpoint, resume=resume, trace=trace
        )
        return AsyncResults(run, iterable)

    def run(
        self,
        pipe: Pipe,
        iterable: Iterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> Outputs:
        """Run a pipe over all items, and return its outputs.

        A dict from each output's name to the list of payloads that reached it, in order, with
        ``default`` for those that no route took. Takes and raises what :meth:`stream` does, but
        always as :class:`slither.RunError`, with what had come out as ``partial``.
        """
        run = PipeRun.over(
            self, pipe, iterable, progress, checkpoint=checkpoint, resume=resume, trace=trace
        )
        with gathered(run) as outputs:
            for part in results(run, iterable):
                for name, value in part:
                    outputs[name].append(value)
        return outputs

    async def arun(
        self,
        pipe: Pipe,
        iterable: AnyIterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> Outputs:
        """Run a pipe without a thread that waits; otherwise as :meth:`run`."""
        run = PipeRun.over(
            self, pipe, iterable, progress, checkpoint=checkpoint, resume=resume, trace=trace
        )
        with gathered(run) as outputs:
            async for name, value in aio.results(run, iterable):
                outputs[name].append(value)
        return outputs
