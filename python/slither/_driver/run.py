"""What runs have in common: an inbox that the reader fills, and all else in one thread.

What a run knows belongs to the thread that asks it for results: the reader puts frames into the
inbox as they come, and only that thread takes them out, decodes them and counts.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from queue import Empty, SimpleQueue

from slither._driver.connection import Connection
from slither._driver.errors_in import to_error
from slither._errors import ProtocolError
from slither._summary import Summary
from slither._types import Payload
from slither._wire import blobs, driving, frames, late
from slither._wire.batches import Body, feed, unpack
from slither._wire.build import frame

# Seconds that a slow input may keep results waiting.
PATIENCE = 0.005
# Seconds to wait for news, at most, before a slow input is pulled on: such a part of its
# interval.
_LONGEST = 0.05
_PART = 10
PAUSED = object()
"""What an input gives where it has no item now. Asked again, it waits for one, or to be woken."""
# Types of iterators that never wait for their next item.
_AT_ONCE = frozenset({type(iter([])), type(iter(())), type(iter(range(0)))})


class Inbox:
    """The frames of a run that nobody has taken yet."""

    __slots__ = ("_put", "empty", "get", "wake")

    def __init__(self) -> None:
        queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._put, self.get, self.empty = queue.put, queue.get, queue.empty
        self.wake: Callable[[], None] | None = None
        """What to call, in the thread that reads, when something has come."""

    def put(self, body: bytes | None) -> None:
        """Take in a frame; None when no more will come."""
        self._put(body)
        if self.wake is not None:
            self.wake()


Shows = Callable[["Run"], None]
"""What shows how far a run is: called with each frame that comes, and at the end."""


class Run(ABC):
    """The driver's side of a run: it sends items as there is room, and hands on what comes."""

    kind: str
    # `__del__` reads these two, and a finaliser may run before the end of `__init__`.
    identity = 0
    ended = True

    def __init__(
        self,
        link: Connection,
        spec: dict[str, Payload],
        owner: object,
        shows: Shows | None = None,
    ) -> None:
        """Take all that the run is; nothing is sent yet. ``owner`` lives as long as it does."""
        self.link = link
        self._spec = spec
        self._owner = owner
        self.held: object = None
        """What is to live as long as it does."""
        self.identity = 0
        self.inbox = Inbox()
        self._news: bytes | None = None
        self.partial: list[Payload] = []
        """Items pulled that wait for others to be sent with."""
        self.source_ended = False
        """Whether there are no items but those."""
        self.input_error: Exception | None = None
        """What the input raised."""
        self.input_ended = False
        """Whether nothing more is to be sent."""
        self.error: dict[str, Payload] | None = None
        """The error that ended the run."""
        self.errors: dict[str, int] = {}
        """Errors so far, by kind."""
        self.stopped: Exception | None = None
        """What ended the run on this side."""
        self.ended = False
        """Whether nothing more comes."""
        self._began = 0.0
        self._took: float | None = None
        self.pulled = 0
        """Items taken from the input."""
        self.summary: Summary | None = None
        """The account, at the end."""
        self._shows = shows
        self.may_wait = True
        """Whether the thread that takes results may wait until what workers print is shown."""

    def __del__(self) -> None:
        """Give up a run that nobody holds any more, wherever the garbage collector notices."""
        if self.identity and not self.ended:
            self.link.cancel(self.identity)

    ## For whoever runs it

    def begin(self) -> None:
        """Start the run."""
        self._began = time.monotonic()
        if self.ended:
            return
        self.identity = self.link.new_id()
        self.link.start(self.identity, self.inbox, self.kind, self._spec)

    def more(self, _count: int) -> None:
        """Learn that BEAM has room for more, where it says so."""
        return

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

    def flush(self, *, paused: bool = False) -> None:
        """Send the items that wait, as far as that is better now than to wait for more.

        ``paused`` says that none comes at once.
        """
        batch, self.partial = self.partial, []
        if batch and not self.input_ended:
            self.feed(batch)

    def is_out(self) -> bool:
        """Tell whether results of what was sent may still come."""
        return True

    def finish_input(self) -> None:
        """Send what waits, and then the end of the input, where there is room for it."""
        self.flush(paused=True)
        if not self.partial:
            self.end(self.input_error)

    def end(self, error: Exception | None = None) -> None:
        """Send the end of the input, which ``error`` may have caused."""
        if not self.input_ended:
            self.input_ended = True
            self.input_error = error
            self.link.send(frame(frames.END, self.identity))

    def has_news(self, wait: float = 0.0) -> bool:
        """Tell whether a frame has come, or the end, and wait for it so many seconds."""
        if self._news is None and wait > 0 and self.inbox.empty():
            try:
                body = self.inbox.get(timeout=wait)
            except Empty:
                return False
            if body is None:
                # What says the end says it to whoever looks.
                self.inbox.put(None)
            self._news = body
        return self._news is not None or not self.inbox.empty()

    def take(self) -> list[Payload]:
        """Wait for a frame, and return the results in it, if it has any."""
        body, self._news = self._news, None
        if body is None:
            if self.inbox.empty():
                self.link.refuse_ourselves()
            body = self.inbox.get()
        if body is None:
            if self.ended:
                return []
            self.ended = True
            raise self.link.gone()
        got = frames.parse_any(body)
        if isinstance(got, driving.More):
            self.more(got.count)
            return []
        if self.may_wait:
            self.link.relay.catch_up()
        if isinstance(got, driving.Outputs):
            values = self.outputs(got)
        elif isinstance(got, driving.Done):
            self.ended = True
            self.error = got.error
            if got.error is not None:
                self.count([got.error])
            values = self.done(got)
        else:
            raise ProtocolError(f"a run expects no {type(got).__name__.lower()} frame")
        self.show()
        return values

    def show(self) -> None:
        """Show how far it is, where somebody wants to see it."""
        if self._shows is not None:
            self._shows(self)
            if self.ended:
                self._shows = None

    @abstractmethod
    def outputs(self, got: driving.Outputs) -> list[Payload]:
        """Return what an outputs frame gives to the caller."""

    @abstractmethod
    def done(self, got: driving.Done) -> list[Payload]:
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
        ended, self.ended = self.ended, True
        if not ended and self.identity:
            self.link.cancel(self.identity)
            # Another thread may be waiting in `take`.
            self.inbox.put(None)
        if self._took is None:
            self._took = self.so_far().seconds
        self.show()

    def stop(self, error: Exception) -> None:
        """Give the run up for an error of this side, which :meth:`finish` raises."""
        self.stopped = error
        if not self.ended:
            self.ended = True
            self.link.cancel(self.identity)

    def finish(self) -> None:
        """Raise what ended the run, if anything did."""
        if self.stopped is not None:
            raise self.stopped
        if self.error is not None:
            raise to_error(self.error, self.link.objects)
        if self.input_error is not None:
            raise self.input_error

    def send(self, first: int, body: Body, count: int) -> None:
        """Send encoded items, which have numbers from ``first`` on."""
        if count:
            self.link.send(*feed(self.identity, first, body, count))

    def unpacked(self, got: driving.Outputs) -> tuple[list[Payload], dict[int, Exception]]:
        """Return values as they are here, and why some could not be opened, by their places."""
        values = unpack(got.values, got.count, self.link.codec)
        with blobs.taking():
            return values, late.each(values)

    def opened(self, got: driving.Outputs) -> list[Payload]:
        """Return values, up to the first that can't be opened: that ends the run."""
        values, closed = self.unpacked(got)
        if closed:
            first = min(closed)
            self.stop(closed[first])
            del values[first:]
        return values

    def count(self, failed: Iterable[dict[str, Payload]]) -> None:
        """Count errors by kind; those of Python by the exception's class."""
        for fault in failed:
            kind = str(fault.get("type") or fault["kind"])
            self.errors[kind] = self.errors.get(kind, 0) + 1


def results(run: Run, items: Iterable[Payload]) -> Iterator[list[Payload]]:
    """Pull, send and hand on, in the thread that asks for results; they come in lists."""
    source = iter(items)
    try:
        run.begin()
        while not run.ended:
            until = fill(run, source)
            if until is None:
                yield run.take()
                continue
            # What is here is handed on at once, and what is still out is waited for.
            while run.has_news(until - time.monotonic() if run.is_out() else 0):
                yield run.take()
    finally:
        run.close()
    run.finish()


def fill(run: Run, source: Iterator[Payload], *, once: bool = False) -> float | None:
    """Pull and send items while there is room for them, or ``once``.

    Returns until when to wait for news before it pulls on; None where only news make room.
    """
    while not run.input_ended:
        run.flush(paused=True)
        if run.source_ended:
            run.finish_input()
            return None
        count, before = run.room(), len(run.partial)
        if count <= before:
            return None
        began = time.monotonic()
        is_live = _pull(run, source, count)
        if run.source_ended:
            continue
        if len(run.partial) < count:
            run.flush(paused=True)
            if is_live:
                return began
            return _pause(time.monotonic() - began, len(run.partial) - before)
        run.flush()
        if once:
            return began
    return None


def _pull(run: Run, source: Iterator[Payload], count: int) -> bool:
    """Pull items until there are ``count``, or as many as a slow input gives meanwhile.

    Tells whether the input itself says that it pauses: it waits for news, too, then.
    """
    batch = run.partial
    try:
        # If the iterable raises, the list keeps the items before that.
        if type(source) in _AT_ONCE:
            batch.extend(islice(source, count - len(batch)))
        else:
            late = time.monotonic() + PATIENCE
            for item in source:
                if item is PAUSED:
                    return True
                batch.append(item)
                if len(batch) >= count or time.monotonic() > late:
                    return False
        run.source_ended = len(batch) < count
    except Exception as error:  # noqa: BLE001 - the caller's iterable: raised at the end
        run.source_ended, run.input_error = True, error
    return False


def _pause(took: float, count: int) -> float:
    """Return until when to wait for news, where ``count`` items took so many seconds."""
    now = time.monotonic()
    each = took / max(count, 1)
    # Where each came soon after the other, the next will, too.
    return now if each < PATIENCE else now + min(_LONGEST, each / _PART)
