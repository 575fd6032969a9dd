"""A pipe over an iterable: the driver's side of a pipe run.

The thread, or the event loop, that asks for outputs runs all of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from slither._driver import traces
from slither._driver.connection import Connection
from slither._driver.errors_in import to_error
from slither._driver.functions import check
from slither._driver.lifetime import Lifetime
from slither._driver.progress import shows
from slither._driver.run import Run, Shows
from slither._driver.settings import StrPath, one_of
from slither._driver.sources import sources
from slither._errors import BeamError, EncodeError, RunError
from slither._outputs import Outputs, why
from slither._pipe.document import handlers
from slither._summary import summarize
from slither._types import Payload
from slither._wire import batches, driving, frames
from slither._wire.build import frame
from slither._words import said

if TYPE_CHECKING:
    from slither._pipe.definition import Pipe

# Outputs that may be on their way or wait here.
_WINDOW = 512
# Items that go in one frame.
_MOST = 256

Output = tuple[str, Any]
Failed: TypeAlias = "Callable[[str | None, Payload, dict[str, Payload]], None]"
"""Takes the output that a failed item went to, its payload, and the error map."""


class PipeRun(Run):
    """Feeds items as BEAM asks for them, and gives it leave for outputs as they are taken."""

    kind = "pipe"

    def __init__(
        self, link: Connection, spec: dict[str, Payload], owner: object, shows: Shows | None
    ) -> None:
        super().__init__(link, spec, owner, shows)
        self.document: dict[str, Payload] = spec["document"]
        self.name: str = self.document["name"]
        self._wanted = 0
        self._sent = 0
        self._taken = 0
        self._refused: EncodeError | None = None
        self.counts: dict[str, int] = {}
        """Outputs so far, by name."""
        self.routed: dict[str, dict[int, Exception]] = {}
        """The errors of items that a policy routed, by output and place."""
        self.failed: Failed | None = None
        """Takes those errors instead, each with its item, and that of an item that halts."""

    @classmethod
    def over(
        cls,
        beam: Lifetime,
        pipe: Pipe,
        items: object,
        progress: bool,
        *,
        checkpoint: StrPath | None,
        resume: str,
        trace: str | None = None,
        document: dict[str, Payload] | None = None,
    ) -> PipeRun:
        """Return a run of which nothing has been sent yet: see ``Beam.stream``.

        ``document`` is run in place of the pipe's own.
        """
        # Imported late, so that programs without pipes need not load the language of pipes.
        from slither._pipe.definition import Pipe

        if not isinstance(pipe, Pipe):
            raise TypeError(f"a pipe is a slither.Pipe, not {pipe!r:.80}")
        document = document or pipe._whole()
        held = beam._functions.put_in(document)
        for handler in handlers(document):
            check(handler.module, handler.name)
        spec: dict[str, Payload] = {"document": document}
        one_of("resume", resume, ("same", "anyway"))
        if checkpoint is not None:
            spec["checkpoint"] = os.path.abspath(os.fspath(checkpoint))
            spec["sources"] = sources(document)
            if resume == "anyway":
                spec["resume"] = resume
        trace = traces.current() if trace is None else str(trace)
        if trace is not None:
            spec["trace"] = trace
        made = cls(beam._link, spec, beam, shows(pipe.name, items, progress))
        made.held = held
        return made

    def begin(self) -> None:
        """Start the run, and give it leave for the first outputs."""
        super().begin()
        if not self.ended:
            self.link.send(frame(frames.TAKE, self.identity, _WINDOW))

    def given(self) -> dict[str, int]:
        """Return how many outputs there are, by name."""
        return self.counts

    def through(self) -> int:
        """Return how many items are in."""
        return self.pulled

    def more(self, count: int) -> None:
        """Learn how many more items BEAM takes."""
        self._wanted += count

    def room(self) -> int:
        """Return how many items may be sent now."""
        return 0 if self.input_ended else min(self._wanted, _MOST)

    def is_out(self) -> bool:
        """Tell whether outputs may still come of what was sent, as far as it is known here."""
        return sum(self.counts.values()) < self._sent

    def feed(self, batch: list[Payload]) -> None:
        """Send items; one that can't be sent ends the input."""
        for part in batches.parts(batch, self.pulled, self.link.piped):
            self.pulled += part.taken
            body, count = part.body, part.count
            if part.refused:
                count = min(part.refused)
                body, self._refused = body[:count], part.refused[count]
            self._wanted -= count
            self.send(self._sent, body, count)
            self._sent += count
            if part.refused:
                self.end()
                return

    def outputs(self, got: driving.Outputs) -> list[Payload]:
        """Return the outputs, each with its name."""
        output = got.output or "default"
        values = self.opened(got)
        for index, fault in (got.errors or {}).items():
            error = to_error(fault, self.link.objects)
            if fault.get("lost"):
                raise RunError(f"pipe {self.name!r}, output {output!r}: {error}") from error
            if self.failed is None:
                self.routed.setdefault(output, {})[got.first + index] = error
            else:
                self.failed(output, values[index], fault)
        self.count((got.errors or {}).values())
        self.counts[output] = self.counts.get(output, 0) + got.count
        self._taken += got.count
        if self._taken >= _WINDOW // 4 and not self.ended:
            self.link.send(frame(frames.TAKE, self.identity, self._taken))
            self._taken = 0
        return [(output, value) for value in values]

    def done(self, got: driving.Done) -> list[Payload]:
        """Take the account."""
        self.errors = dict(got.receipt.get("errors", self.errors))
        self.summary = summarize(got.receipt, self.counts, self.errors)
        return []

    def finish(self) -> None:
        """Raise what ended the run, if anything did."""
        if self.stopped is not None:
            text = f"pipe {self.name!r}: {self.stopped}"
            raise RunError(text, summary=self.summary) from self.stopped
        if self.error is not None:
            cause = to_error(self.error, self.link.objects)
            text = why(self.name, self.error.get("stage"), self.error.get("item"), cause)
            raise RunError(text, summary=self.summary) from cause
        if self.input_error is not None:
            raise self.input_error
        if self._refused is not None:
            raise self._refused


@contextmanager
def gathered(run: PipeRun) -> Iterator[Outputs]:
    """Give empty outputs to fill, and complete them when the run has ended.

    What stops it is raised as :class:`slither.RunError`, with what had come out.
    """
    outputs = Outputs([*run.document["outputs"], "default"])
    try:
        yield outputs
    except Exception as error:
        if isinstance(error, BeamError) and not run.pulled:
            raise
        failure = _stopped(error, run)
        failure.partial = outputs
        failure.summary = run.summary
        raise failure from failure.__cause__
    finally:
        outputs.errors = run.routed
        outputs.summary = run.summary or run.so_far()


def _stopped(error: Exception, run: PipeRun) -> RunError:
    if isinstance(error, RunError):
        return error
    what = str(error)
    if not isinstance(error, BeamError):
        what = f"the input failed after {run.pulled} items: {said(error)}"
    made = RunError(f"pipe {run.name!r}: {what}")
    made.__cause__ = error
    return made
