"""What runs have in common: an inbox that whoever reads fills, and how they are waited for."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

from slither._driver import frames
from slither._driver.batches import Body, feed
from slither._driver.faults import to_error
from slither._driver.summary import Summary
from slither._errors import BeamDied

if TYPE_CHECKING:
    from slither._driver.link import Link
    from slither._types import Payload

# Seconds that a slow input may keep results waiting.
PATIENCE = 0.005
# Iterators that make nobody wait.
_AT_ONCE = frozenset({type(iter([])), type(iter(())), type(iter(range(0)))})


class Run(ABC):
    """The driver's side of a run: it sends items as there is room, and hands on what comes."""

    kind: str

    def __init__(self, link: Link, spec: dict[str, Payload], owner: object) -> None:
        """Take all that the run is; nothing is sent yet. ``owner`` lives as long as it does."""
        self.link = link
        self._spec = spec
        self._owner = owner
        self.identity = 0
        self.inbox: deque[frames.Outputs | frames.Done] = deque()
        self._death: BeamDied | None = None
        self.partial: list[Payload] = []
        """Items pulled that wait for others to be sent with."""
        self.input_error: Exception | None = None
        """What the input raised."""
        self.input_ended = False
        """Whether nothing more is to be sent."""
        self.error: dict[str, Payload] | None = None
        """The error that ended the run."""
        self.errors: dict[str, int] = {}
        """Errors so far, by kind."""
        self.ended = False
        """Whether nothing more comes."""
        self._began = 0.0
        self._took: float | None = None
        self.pulled = 0
        """Items taken from the input."""
        self.summary: Summary | None = None
        """The account, at the end."""
        self.shows: Callable[[Run], None] | None = None
        """What shows how far the run is."""

    ## Frames, in the thread that reads

    def receive(self, got: frames.Outputs | frames.Done | frames.More) -> None:
        """Take one frame."""
        if isinstance(got, frames.More):
            self.more(got.count)
        else:
            self.inbox.append(got)
        self.wake()

    def more(self, _count: int) -> None:
        """Learn that BEAM has room for more, where it says so."""
        return

    def died(self, error: BeamDied) -> None:
        """Learn that no more frames will come."""
        self._death = error
        self.wake()

    def wake(self) -> None:
        """Tell whoever waits elsewhere that there is something to see."""
        return

    ## For whoever runs it

    def begin(self) -> None:
        """Start the run."""
        self._began = time.monotonic()
        self.identity = self.link.new_id()
        self.link.start(self.identity, self, self.kind, self._spec)

    @abstractmethod
    def given(self) -> dict[str, int]:
        """Return how much has come out, by output."""

    @abstractmethod
    def through(self) -> int:
        """Return how many items of the input are done with."""

    @abstractmethod
    def room(self) -> int:
        """Return how many items may be sent now."""

    @abstractmethod
    def feed(self, batch: list[Payload]) -> None:
        """Send items, as many as there was room for, or the last."""

    def flush(self) -> None:
        """Send the items that wait."""
        batch, self.partial = self.partial, []
        if batch and not self.input_ended:
            self.feed(batch)

    def idle(self) -> bool:
        """Tell whether it is better to send few items than to wait for more."""
        return True

    def end(self, error: Exception | None = None) -> None:
        """Send the end of the input, which ``error`` may have caused."""
        if not self.input_ended:
            self.input_ended = True
            self.input_error = error
            self.link.send(frames.end(self.identity))

    def has_news(self) -> bool:
        """Tell whether there is something to hand on, or to raise."""
        return bool(self.inbox) or self._death is not None

    def take(self) -> list[Payload]:
        """Return the next results; none where there is no news, or only the end."""
        if not self.inbox:
            if self._death is not None:
                self.ended = True
                raise BeamDied(self._death.reason, self._death.status, self._death.log)
            return []
        got = self.inbox.popleft()
        if isinstance(got, frames.Outputs):
            values = self.outputs(got)
        else:
            self.ended = True
            self.error = got.error
            if got.error is not None:
                self.count([got.error])
            values = self.done(got)
        self.show()
        return values

    def show(self) -> None:
        """Show how far it is, where somebody wants to see it."""
        if self.shows is not None:
            self.shows(self)
            if self.ended:
                self.shows = None

    @abstractmethod
    def outputs(self, got: frames.Outputs) -> list[Payload]:
        """Return what an outputs frame gives to the caller."""

    @abstractmethod
    def done(self, got: frames.Done) -> list[Payload]:
        """Take the account; return what is left for the caller."""

    def so_far(self) -> Summary:
        """Return the account of a run that goes on, as far as it is known here."""
        seconds = self._took
        if seconds is None:
            seconds = time.monotonic() - self._began if self._began else 0.0
        given, errors = dict(self.given()), dict(self.errors)
        return Summary(items=self.pulled, outputs=given, errors=errors, seconds=seconds)

    def close(self) -> None:
        """Give the run up, if it still goes on."""
        if self.identity and not self.ended:
            self.link.cancel(self.identity)
        if self._took is None:
            self._took = self.so_far().seconds
        self.ended = True
        self.show()

    def finish(self) -> None:
        """Raise what ended the run, if anything did."""
        if self.error is not None:
            raise to_error(self.error)
        if self.input_error is not None:
            raise self.input_error

    def send(self, body: Body, count: int) -> None:
        """Send encoded items."""
        if count:
            self.link.send(*feed(self.identity, body, count))

    def count(self, failed: Iterable[dict[str, Payload]]) -> None:
        """Count errors by kind; those of Python by the exception's class."""
        for fault in failed:
            kind = str(fault.get("type") or fault["kind"])
            self.errors[kind] = self.errors.get(kind, 0) + 1


def results(run: Run, items: Iterable[Payload]) -> Iterator[Payload]:
    """Pull, send and hand on, in the thread that asks for results."""
    # A generator that gave them one by one would take more time for each than all the rest.
    return chain.from_iterable(_lists(run, items))


def _lists(run: Run, items: Iterable[Payload]) -> Iterator[list[Payload]]:
    source = iter(items)
    try:
        run.begin()
        while not run.ended:
            _fill(run, source)
            if not run.inbox:
                run.link.wait(lambda: run.has_news() or (not run.input_ended and run.room() > 0))
            yield run.take()
    finally:
        run.close()
    run.finish()


def _fill(run: Run, source: Iterator[Payload]) -> None:
    while not run.input_ended and (count := run.room()):
        if not _pull(run, source, count):
            return


def _pull(run: Run, source: Iterator[Payload], count: int) -> bool:
    """Send ``count`` items; False when results came before a slow input had given so many."""
    late = time.monotonic() + PATIENCE
    step = count if type(source) in _AT_ONCE else 1
    batch = run.partial
    while (before := len(batch)) < count:
        step = min(step, count - before)
        try:
            # What came before an exception stays in the list.
            batch.extend(islice(source, step))
        except Exception as error:  # noqa: BLE001 - the caller's iterable: raised at the end
            run.flush()
            run.end(error)
            return True
        if len(batch) < before + step:
            run.flush()
            run.end()
            return True
        step *= 2
        if time.monotonic() > late:
            run.link.poll()
            if run.has_news():
                return False
            if run.idle():
                break
    run.flush()
    return True
