"""Calls that wait for room or are out, and the groups in which somebody waits for all of them.

The thread that submits makes a job, the writer sends it, and the reader settles it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from slither._driver.futures import Answer, CallFuture
from slither._errors import EncodeError
from slither._wire import batches

Arguments = tuple[Sequence[object], dict[str, object]]
Target = tuple[str, str, int | None]
"""A function's module and name, and the milliseconds that a call may take."""


class Group:
    """Jobs that somebody may want to see the end of."""

    def __init__(self) -> None:
        """Begin with none."""
        self.left: dict[int, Job] = {}
        """Those that are not settled, by number."""
        self.waiting: list[Callable[[], None]] = []
        """What to call, in the writer, when none is left."""

    def settled(self, number: int) -> bool:
        """Take one out; tell whether somebody waits for the end, which may have come."""
        self.left.pop(number, None)
        return bool(self.waiting) and not self.left

    def tell(self) -> None:
        """Tell who waits, where none is left."""
        while not self.left and self.waiting:
            self.waiting.pop()()


class Run(Protocol):
    """What has sent a job."""

    def kill(self, job: Job) -> None:
        """Have BEAM end it, if it is still out; in the writer."""


@dataclass(slots=True, eq=False)
class Job:
    """Calls that go to a worker together, encoded, and the future that gets their outcomes."""

    future: CallFuture[Any]
    target: Target
    body: bytes
    count: int
    """How many calls."""
    many: bool
    """Whether the future gets the list of all outcomes, rather than that of one call."""
    groups: tuple[Group, ...]
    number: int = field(default_factory=itertools.count(1).__next__)
    first: int = 0
    """The number of its first call in the run, once it is out."""
    since: float = 0.0
    """When it went out."""
    run: Run | None = None
    """What sends it, once the writer has it."""

    def settle(self, answer: Answer) -> None:
        """Settle the future, and have the writer tell who waits for the last of a group."""
        future = self.future
        future.settle(answer)
        for group in self.groups:
            if group.settled(self.number):
                future._connection.writer.order(group.tell)

    def kill(self) -> None:
        """Have BEAM end it, if it is out; in the writer."""
        if self.run is not None:
            self.run.kill(self)

    def forget(self) -> None:
        """Take it out of its groups where it is cancelled; in the writer."""
        for group in self.groups:
            group.settled(self.number)
            group.tell()

    def name(self) -> str:
        """Name the function."""
        return ".".join(self.target[:2])


def encoded(calls: Sequence[Arguments]) -> tuple[bytes, Exception | None]:
    """Encode the arguments of calls that go together, or return why that can't be."""
    try:
        body, _count, refused = batches.pack([[list(args), named] for args, named in calls])
    except Exception as error:  # noqa: BLE001 - a value of the user's that raises when it is read
        return b"", error
    # A job is sent whole or not at all: an error says which argument could not be sent.
    if refused:
        return b"", _renamed(next(iter(refused.values())))
    joined = b"".join(body)
    if len(joined) > batches.LIMIT:
        return b"", EncodeError("args", batches.too_large(len(joined)))
    return joined, None


def _renamed(error: EncodeError) -> EncodeError:
    """Name the arguments, not the lists that they are sent in."""
    path = error.path[error.path.index("]") + 1 :]
    root = "args" if path.startswith("[0]") else "kwargs"
    return EncodeError(root + path[3:], error.reason)
