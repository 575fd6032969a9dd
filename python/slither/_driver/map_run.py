"""A function over an iterable, in batches: the driver's side of a map run.

The thread, or the event loop, that asks for results runs all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from slither import _options
from slither._driver import settings, traces
from slither._driver.batching import Batching
from slither._driver.connection import Connection
from slither._driver.errors_in import to_error
from slither._driver.lifetime import Lifetime
from slither._driver.progress import shows
from slither._driver.run import Run, Shows
from slither._driver.sharing import Sharing
from slither._errors import EncodeError, PayloadError
from slither._summary import summarize
from slither._typed.functions import Typed
from slither._types import Payload
from slither._wire import batches, blobs, driving

if TYPE_CHECKING:
    from typing_extensions import Unpack

_BYTES = _options.either(_options.whole(1), None)
# The default limit of batches that are out, unless twice the number of workers is more.
_IN_FLIGHT = 8


class MapRun(Run):
    """Feeds batches as there is room, and hands results on in order."""

    kind = "map"

    def __init__(
        self,
        link: Connection,
        spec: dict[str, Payload],
        owner: object,
        shows: Shows | None,
        *,
        batching: Batching,
        failures: str,
        taking: settings.Taking,
    ) -> None:
        """Take all that the run is.

        ``failures`` is what becomes of items that failed: ``halt``, ``skip`` or ``return``.
        """
        super().__init__(link, spec, owner, shows)
        self._typed = taking.typed
        self._failures = failures
        self._doubts = taking.doubts
        self._batching = batching
        self._sharing: Sharing | None = None
        # Items that could not be encoded, each with how many were sent before it.
        self._refused: deque[tuple[int, EncodeError]] = deque()
        self.out = 0
        """Results that went well."""
        self.refused = 0
        """Items that could not be sent."""

    @classmethod
    def over(
        cls,
        beam: Lifetime,
        function: Callable[..., object],
        items: object,
        on_error: settings.OnError,
        taking: settings.Taking,
        **asked: Unpack[settings.Asked],
    ) -> MapRun:
        """Return a run of which nothing has been sent yet; ``asked`` are all of the options."""
        policy, failures = settings.policy(on_error)
        ordering, size, most = asked["ordering"], asked["batch_size"], asked["max_in_flight"]
        most = max(_IN_FLIGHT, 2 * beam.workers) if most is None else most
        module, name, held = beam._functions.reference(function)
        spec: dict[str, Payload] = {
            "ordering": settings.one_of("ordering", ordering, ("preserve", "as_completed")),
            "target": [taking.kind, module, name],
            "max_in_flight": settings.count("max_in_flight", most),
            "on_error": policy,
            "isolate": _options.checked("isolate", asked["isolate"], _options.BOOL),
            "timeout": settings.milliseconds("timeout", asked["timeout"]),
            "item_timeout": settings.milliseconds("item_timeout", asked["item_timeout"]),
        }
        if asked["session"] is not None:
            spec["session"] = _options.checked("session", asked["session"], _options.TEXT)
        if asked["as_"] is not None:
            spec["as"] = asked["as_"]
        trace = traces.current() if asked["trace"] is None else settings.trace(asked["trace"])
        if trace is not None:
            spec["trace"] = trace
        spec |= settings.sizes(size, asked["batch_time"])
        spec |= settings.limits(asked.get("rate"), asked.get("priority", "normal"))
        ahead = _options.checked("ahead_bytes", asked["ahead_bytes"], _BYTES)
        batching = Batching(settings.batch_size(size), most, beam.workers, ahead)
        progress = _options.checked("progress", asked["progress"], _options.BOOL)
        shown = shows(str(getattr(function, "__name__", "map")), items, progress)
        made = cls(
            beam._link,
            spec,
            beam,
            shown,
            batching=batching,
            failures=failures,
            taking=taking,
        )
        made.held = held
        return made

    def room(self) -> int:
        """Return how many items to have at hand, 0 while the window has no room for a batch."""
        return 0 if self.input_ended else self._batching.room()

    def given(self) -> dict[str, int]:
        """Return how many results there are."""
        return {"results": self.out}

    def through(self) -> int:
        """Return how many items are answered."""
        return self._batching.received + self.refused

    def is_out(self) -> bool:
        """Tell whether items are not answered yet."""
        return self._batching.sent > self._batching.received

    def more(self, count: int) -> None:
        """Learn how many items the next batches are to have."""
        self._batching.found(count)

    def flush(self, *, paused: bool = False) -> None:
        """Send the batches for which it is time."""
        ended, following = self.source_ended, self._batching.next
        while not self.input_ended:
            count = following(len(self.partial), ended=ended, paused=paused)
            if count == 0:
                return
            batch = self.partial[:count]
            del self.partial[:count]
            self.feed(batch)

    def feed(self, batch: list[Payload]) -> None:
        """Send a batch; in parts, where it is too large for one frame."""
        if self._doubts is not None and (doubt := self._doubts(batch)) is not None:
            # A policy could hide what a worker says of it.
            self.end(TypeError(doubt))
            return
        parts = batches.parts(batch, self.pulled, self.link.codec)
        while (part := self._next(parts)) is not None:
            self.pulled += part.taken
            body, count = part.body, part.count
            if part.refused:
                body, count = self._refuse(body, count, part.refused)
            size = part.size
            if self._sharing is not None:
                size += self._sharing.went(self._batching.sent, count)
            self.send(self._batching.sent, body, count)
            self._batching.went(count, size)
            if part.refused and self._failures == "halt":
                self.end()
                return

    def _next(self, parts: Iterator[batches.Part]) -> batches.Part | None:
        # What is encoded, and nothing else that this thread does, goes by shared memory.
        with blobs.sharing(self._sharing):
            return next(parts, None)

    def begin(self) -> None:
        """Start the run, with a place for large values."""
        super().begin()
        if not self.ended:
            self._sharing = Sharing.of_run(self.link, self.identity)

    def close(self) -> None:
        """Give the run up, if it still goes on, and what it has in shared memory."""
        super().close()
        if self._sharing is not None:
            self._sharing.close()

    def finish(self) -> None:
        """Raise what ended the run, if anything did."""
        if self._refused and self.stopped is None:
            self.input_error = self._refused[0][1]
        super().finish()

    def outputs(self, got: driving.Outputs) -> list[Payload]:
        """Return the results, with failures left out or put in their places."""
        blobs.met()
        values, closed = self.unpacked(got)
        self._batching.came(got.count, len(got.values) + blobs.met())
        if self._sharing is not None:
            self._sharing.came(got.first, got.count)
        told, objects = got.errors or {}, self.link.objects
        self.count(told.values())
        failed = {index: to_error(fault, objects) for index, fault in told.items()}
        if closed:
            self.count([{"kind": "not_decodable"}] * len(closed))
            if self._failures == "halt":
                first = min(closed)
                self.stop(closed[first])
                values = values[:first]
            else:
                failed |= closed
        if self._typed is not None:
            values, failed = self._restored(self._typed, values, failed)
        self.out += len(values) - len(failed)
        if failed:
            values = self._place(values, failed)
        if self._refused and self._failures == "return":
            values = self._place_refused(values, got.first)
        return values

    def done(self, got: driving.Done) -> list[Payload]:
        """Take the account; return the failures that no result came after."""
        left: list[Payload] = []
        if self._failures != "halt":
            left = [error for _, error in self._refused if self._failures == "return"]
            self._refused.clear()
        self.summary = summarize(got.receipt, self.given(), self.errors, self.refused)
        return left

    def _restored(
        self, typed: Typed, values: list[Payload], failed: dict[int, Exception]
    ) -> tuple[list[Payload], dict[int, Exception]]:
        """Make values what the function says of them, and an error of each that is another."""
        for index, value in enumerate(values):
            if index in failed:
                continue
            try:
                values[index] = typed(value)
            except PayloadError as error:
                self.count([{"kind": "PayloadError"}])
                if self._failures == "halt":
                    self.stop(error)
                    return values[:index], failed
                failed[index] = error
        return values, failed

    def _place(self, values: list[Payload], failed: dict[int, Exception]) -> list[Payload]:
        if self._failures == "return":
            return [failed.get(index, value) for index, value in enumerate(values)]
        return [value for index, value in enumerate(values) if index not in failed]

    def _place_refused(self, values: list[Payload], first: int) -> list[Payload]:
        placed: list[Payload] = []
        for position, value in enumerate(values, first):
            while self._refused and self._refused[0][0] <= position:
                placed.append(self._refused.popleft()[1])
            placed.append(value)
        return placed

    def _refuse(
        self, body: batches.Body, count: int, refused: dict[int, EncodeError]
    ) -> tuple[batches.Body, int]:
        if self._failures == "halt":
            # Items before the first refused one are sent; those after it are not.
            first = min(refused)
            refused = {first: refused[first]}
            body, count = body[:first], first
        for before, (index, error) in enumerate(refused.items()):
            self._refused.append((self._batching.sent + index - before, error))
        self.refused += len(refused)
        self.count([{"kind": "not_encodable"}] * len(refused))
        return body, count
