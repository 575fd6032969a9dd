"""A pipe over an iterable: the driver's side of a pipe run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from slither._driver.errors_in import to_error
from slither._driver.run import Run, results
from slither._errors import EncodeError, RunError, SlitherError
from slither._summary import Summary, summarize
from slither._wire import batches, driver_frames
from slither._worker.results import frame

if TYPE_CHECKING:
    from slither._driver.connection import Connection
    from slither._types import Payload

# Outputs that may be on their way or wait here.
_WINDOW = 512
# Items that go in one frame.
_MOST = 256

Output = tuple[str, Any]
Failed: TypeAlias = "Callable[[str | None, Payload, dict[str, Payload]], None]"
"""Takes the output that a failed item went to, its payload, and the error map."""


class Outputs(dict[str, list[Any]]):
    """What came out of a pipe: lists of payloads by output, ``default`` always among them.

    ``errors`` has the error of each item that a policy has routed, by output and by its place
    in the list; ``summary`` is the account of the run.
    """

    def __init__(self, names: list[str]) -> None:
        """Begin with empty lists."""
        super().__init__({name: [] for name in names})
        self.errors: dict[str, dict[int, Exception]] = {}
        self.summary = Summary()


class Stream(chain[Output]):
    """The outputs of a pipe as they come, each as ``(output, payload)``.

    Nothing is pulled or sent before the first is asked for. :meth:`close`, or dropping it, stops
    the run and frees the workers.
    """

    # As for Results.
    _run: PipeRun

    @classmethod
    def of(cls, run: PipeRun, items: Iterable[Payload]) -> Stream:
        """Return the outputs of a run over the items."""
        made = cls.from_iterable(results(run, items))
        made._run = run  # type: ignore[attr-defined]
        return made  # type: ignore[return-value]

    def tell_failures(self, failed: Failed) -> None:
        """Have the run give each failed item's error to ``failed``, and keep none of them."""
        self._run.failed = failed

    def close(self) -> None:
        """Stop the run; from any thread, and from a finaliser, too."""
        self._run.close()

    @property
    def summary(self) -> Summary:
        """The account of the run; of what it has done so far, until it has ended."""
        return self._run.summary or self._run.so_far()


class AsyncStream(AsyncIterator[Output]):
    """The outputs of a pipe, for ``async for``; as :class:`Stream`."""

    def __init__(self, generator: AsyncIterator[Output], run: PipeRun) -> None:
        """Take what gives the outputs."""
        self._generator = generator
        self._run = run

    def __aiter__(self) -> AsyncIterator[Output]:
        """Return what a loop is the fastest with."""
        return self._generator

    async def __anext__(self) -> Output:
        """Return the next output, waiting for it if need be."""
        return await anext(self._generator)

    async def aclose(self) -> None:
        """Stop the run."""
        self._run.close()

    @property
    def summary(self) -> Summary:
        """The account of the run; of what it has done so far, until it has ended."""
        return self._run.summary or self._run.so_far()


class PipeRun(Run):
    """Feeds items as BEAM asks for them, and gives it leave for outputs as they are taken."""

    kind = "pipe"

    def __init__(
        self,
        link: Connection,
        spec: dict[str, Payload],
        owner: object,
    ) -> None:
        """Take all that the run is."""
        super().__init__(link, spec, owner)
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

    def begin(self) -> None:
        """Start the run, and give it leave for the first outputs."""
        super().begin()
        if not self.ended:
            self.link.send(frame(driver_frames.TAKE, self.identity, _WINDOW))

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

    def feed(self, batch: list[Payload]) -> None:
        """Send items; one that can't be sent ends the input."""
        for part in batches.parts(batch, self.pulled):
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

    def outputs(self, got: driver_frames.Outputs) -> list[Payload]:
        """Return the outputs, each with its name."""
        output = got.output or "default"
        values = batches.unpack(got.values, got.count)
        for index, fault in (got.errors or {}).items():
            error = to_error(fault)
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
            self.link.send(frame(driver_frames.TAKE, self.identity, self._taken))
            self._taken = 0
        return [(output, value) for value in values]

    def done(self, got: driver_frames.Done) -> list[Payload]:
        """Take the account."""
        self.errors = dict(got.receipt.get("errors", self.errors))
        self.summary = summarize(got.receipt, self.counts, self.errors)
        return []

    def finish(self) -> None:
        """Raise what ended the run, if anything did."""
        if self.error is not None:
            cause = to_error(self.error)
            raise RunError(_words(self.name, self.error, cause), summary=self.summary) from cause
        if self.input_error is not None:
            raise self.input_error
        if self._refused is not None:
            raise self._refused


def gathered(pipe: dict[str, Payload]) -> Outputs:
    """Return empty lists for the outputs of a document."""
    return Outputs([*pipe["outputs"], "default"])


def ended(outputs: Outputs, run: PipeRun) -> Outputs:
    """Complete what came out of a run that has ended."""
    outputs.errors = run.routed
    outputs.summary = run.summary or run.so_far()
    return outputs


def stopped(error: Exception, outputs: Outputs, run: PipeRun) -> SlitherError:
    """Return the error of a run that stopped, with what had come out."""
    if isinstance(error, RunError):
        made, cause = error, error.__cause__
    else:
        what = f"the input failed after {run.pulled} items: {type(error).__name__}: {error}"
        made, cause = RunError(f"pipe {run.name!r}: {what}"), error
    made.partial = ended(outputs, run)
    made.summary = run.summary
    made.__cause__ = cause
    return made


def _words(name: str, fault: dict[str, Payload], cause: Exception) -> str:
    place = f"pipe {name!r}"
    if "stage" in fault:
        place += f", stage {fault['stage']!r}"
    if isinstance(fault.get("item"), int):
        place += f", item {fault['item']}"
    kind = type(cause).__name__
    plain = isinstance(cause, SlitherError)
    return f"{place}: {cause}" if plain else f"{place}: {kind}: {cause}"
