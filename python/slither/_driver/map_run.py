"""A function over an iterable, in batches: the driver's side of a map run.

The thread, or the event loop, that asks for results runs all of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from slither._driver import settings
from slither._driver.connection import Connection
from slither._driver.errors_in import to_error
from slither._driver.functions import reference
from slither._driver.lifetime import Lifetime
from slither._driver.progress import shows
from slither._driver.run import Run, Shows
from slither._errors import EncodeError
from slither._summary import summarize
from slither._types import Payload
from slither._wire import batches, frames

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Batches that may be out by default, where twice the workers are not more.
_IN_FLIGHT = 8
# Bytes that may be out, beside the last batch.
_MOST_BYTES = 67_108_864
# Without a batch size, the largest; and the seconds a batch may be out for the next to be twice
# as large, and from which on the next is half as large.
_LARGEST = 64
_QUICK, _SLOW = 0.02, 0.2


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
        batch_size: int | None,
        failures: str,
    ) -> None:
        """Take all that the run is.

        ``batch_size`` of None begins with one item, so that a few slow items go to all workers,
        and grows while batches come back at once. ``failures`` is what becomes of items that
        failed: ``halt``, ``skip`` or ``return``.
        """
        super().__init__(link, spec, owner, shows)
        self._grows = batch_size is None
        self._size = batch_size or 1
        self._most: int = spec["max_in_flight"]
        self._failures = failures
        # Of each batch that is out: how many items had been sent with it, its bytes, its time.
        self._sizes: deque[tuple[int, int, float]] = deque()
        self._bytes = 0
        # Items that could not be encoded, each with how many were sent before it.
        self._refused: deque[tuple[int, EncodeError]] = deque()
        self.sent = 0
        """Items sent."""
        self.received = 0
        """Items answered."""
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
        **asked: Unpack[settings.MapOptions],
    ) -> MapRun:
        """Return a run of which nothing has been sent yet; ``asked`` are all of the options."""
        policy, failures = settings.policy(on_error)
        ordering, size, most = asked["ordering"], asked["batch_size"], asked["max_in_flight"]
        most = max(_IN_FLIGHT, 2 * beam.workers) if most is None else most
        spec: dict[str, Payload] = {
            "ordering": settings.one_of("ordering", ordering, ("preserve", "as_completed")),
            "target": ["each", *reference(function)],
            "max_in_flight": settings.count("max_in_flight", most),
            "on_error": policy,
            "isolate": bool(asked["isolate"]),
            "timeout": settings.milliseconds("timeout", asked["timeout"]),
        }
        if asked["trace"] is not None:
            spec["trace"] = str(asked["trace"])
        size = None if size is None else settings.count("batch_size", size)
        shown = shows(str(getattr(function, "__name__", "map")), items, asked["progress"])
        return cls(beam._link, spec, beam, shown, batch_size=size, failures=failures)

    def room(self) -> int:
        """Return a batch's size while the window has room for one."""
        if self.input_ended or self._bytes >= _MOST_BYTES:
            return 0
        if self._grows:
            full = len(self._sizes) >= self._most
        else:
            full = self.sent - self.received + self._size > self._size * self._most
        return 0 if full else self._size

    def given(self) -> dict[str, int]:
        """Return how many results there are."""
        return {"results": self.out}

    def through(self) -> int:
        """Return how many items are answered."""
        return self.received + self.refused

    def idle(self) -> bool:
        """Tell whether nothing is out, so that a part of a batch is better than none."""
        return self.sent == self.received

    def feed(self, batch: list[Payload]) -> None:
        """Send a batch; in parts, where it is too large for one frame."""
        for part in batches.parts(batch, self.pulled):
            self.pulled += part.taken
            body, count = part.body, part.count
            if part.refused:
                body, count = self._refuse(body, count, part.refused)
            self.send(self.sent, body, count)
            self.sent += count
            self._sizes.append((self.sent, part.size, time.monotonic()))
            self._bytes += part.size
            if part.refused and self._failures == "halt":
                self.end()
                return

    def finish(self) -> None:
        """Raise what ended the run, if anything did."""
        if self._refused:
            self.input_error = self._refused[0][1]
        super().finish()

    def outputs(self, got: frames.Outputs) -> list[Payload]:
        """Return the results, with failures left out or put in their places."""
        values = batches.unpack(got.values, got.count)
        self.received += got.count
        while self._sizes and self._sizes[0][0] <= self.received:
            _sent, size, began = self._sizes.popleft()
            self._bytes -= size
            if self._grows:
                self._fit(time.monotonic() - began)
        failed = got.errors or {}
        self.out += got.count - len(failed)
        if failed:
            self.count(failed.values())
            values = self._place(values, {i: to_error(f) for i, f in failed.items()})
        if self._refused and self._failures == "return":
            values = self._place_refused(values, got.first)
        return values

    def done(self, got: frames.Done) -> list[Payload]:
        """Take the account; return the failures that no result came after."""
        left: list[Payload] = []
        if self._failures != "halt":
            left = [error for _, error in self._refused if self._failures == "return"]
            self._refused.clear()
        self.summary = summarize(got.receipt, self.given(), self.errors, self.refused)
        return left

    def _fit(self, took: float) -> None:
        if took < _QUICK:
            self._size = min(2 * self._size, _LARGEST)
        elif took > _SLOW:
            self._size = max(self._size // 2, 1)

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
            self._refused.append((self.sent + index - before, error))
        self.refused += len(refused)
        self.count([{"kind": "not_encodable"}] * len(refused))
        return body, count
