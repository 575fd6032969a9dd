"""Calls that wait for room or are out: the jobs that hold them, and the window of one function.

The thread that submits a call makes a job, the writer sends it when there is room, and the
reader settles it. Threads share only a dict and a deque, each change of which is one step. A
group is a set of jobs that somebody waits for.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from slither._driver.connection import Connection
from slither._driver.errors_in import to_exception
from slither._driver.futures import Answer, CallFuture
from slither._driver.sharing import Sharing
from slither._errors import BeamClosed, EncodeError
from slither._types import Payload
from slither._wire import batches, blobs, driving, frames
from slither._wire.build import frame
from slither._wire.codec import Codec

Arguments = tuple[Sequence[object], dict[str, object]]
# The function in a worker that calls whichever it is given the name of.
_NAMED = ("slither._worker.named", "call")


class Target(NamedTuple):
    """What calls have in common that go out by one window."""

    module: str
    name: str
    timeout: int | None
    """The milliseconds that a call may take."""
    session: str | None = None
    gather: object = None
    """What a gather asked for, which no other has."""

    @classmethod
    def of_any(cls, timeout: int | None, session: str | None) -> Target:
        """Return that of calls that say themselves what they call, of one limit.

        A session's are, to keep their order: see ``turns``. Functions by value are, as there may
        be any number of them.
        """
        return cls(*_NAMED, timeout, session)

    @property
    def is_of_any(self) -> bool:
        """Tell whether its calls begin with a module and a name."""
        return self[:2] == _NAMED


class Group:
    """Jobs that somebody may want to see the end of."""

    def __init__(self) -> None:
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
    opens: Opens
    """Begins the run of its target, where there is none."""
    number: int = field(default_factory=itertools.count(1).__next__)
    first: int = 0
    """The number of its first call in the run, once it is out."""
    since: float = 0.0
    """When it went out."""
    run: Window | None = None
    """What sends it, once the writer has it."""
    called: str = ""
    """What it calls, as a warning names it."""
    held: object = None
    """What is to live until it is settled."""
    sharing: Sharing | None = None
    """What it has in shared memory."""
    trace: str | None = None
    """What it is below, where its thread is traced."""

    def settle(self, answer: Answer) -> None:
        """Settle the future, and have the writer tell who waits for the last of a group."""
        future = self.future
        self.held = None
        future.settle(answer)
        # The two would live until the garbage collector comes, and what the answer has.
        future.job = None
        for group in self.groups:
            if group.settled(self.number):
                future._connection.writer.order(group.tell)

    def answered(self) -> Sharing | None:
        """Take away what its arguments had in shared memory; return where its result may be."""
        sharing, self.sharing = self.sharing, None
        if sharing is not None:
            sharing.came(0, 1)
        return sharing

    def fail(self, made: Callable[[], Exception]) -> None:
        """Settle it where it has not gone out, and nobody has cancelled it."""
        if self.future.begin():
            self.settle(Answer(None, made, self.many))
        else:
            self.forget()

    def cancelled(self, group: Group) -> bool:
        """Cancel it if it is of a group, and has not gone out; tell whether it is cancelled."""
        return group in self.groups and self.future.give_up()

    def kill(self) -> None:
        """Have BEAM end it, if it is out; in the writer."""
        if self.run is not None:
            self.run.kill(self)

    def forget(self) -> None:
        """Take it out of its groups where it is cancelled; in the writer."""
        self.held = None
        for group in self.groups:
            group.settled(self.number)
            group.tell()

    def name(self) -> str:
        """Name the function."""
        return self.called or ".".join(self.target[:2])


class Window:
    """The calls of one function: a run without an end."""

    def __init__(
        self,
        connection: Connection,
        target: Target,
        window: int,
        over: Callable[[Window], object],
    ) -> None:
        """Begin the run, in which as many as ``window`` jobs may be out.

        ``over`` is called when the window of a session has ended, and takes no more.
        """
        self._connection, self._window, self.target = connection, window, target
        self.waiting: deque[Job] = deque()
        self.out: dict[int, Job] = {}
        self.ended = False
        self._over = over
        self._asked = False
        self._next = 0
        self.identity = connection.new_id()
        start = frame(frames.START, self.identity, *self.spec(target, window))
        connection.route(self.identity, self)
        connection.write(start)

    def spec(self, target: Target, window: int) -> tuple[str, dict[str, Payload]]:
        """Return the kind of the run, and what it is."""
        spec: dict[str, Payload] = {
            "target": ["apply", target.module, target.name],
            "max_in_flight": window,
            "ordering": "as_completed",
            "on_error": "skip",
            "timeout": target.timeout,
        }
        if target.session is not None:
            spec["session"] = target.session
        return "map", spec

    def pump(self) -> None:
        """Send what there is room for; in the writer."""
        self._asked = False
        while self.waiting and len(self.out) < self._window and not self.ended:
            job = self.waiting.popleft()
            if not job.future.begin():
                job.forget()
                continue
            job.first, job.since = self._next, time.monotonic()
            self.out[job.first] = job
            self._next += job.count
            if job.trace is not None:
                self._connection.write(frame(frames.TRACE, self.identity, job.first, job.trace))
            self._connection.write(*batches.feed(self.identity, job.first, [job.body], job.count))
            job.body = b""
        if self.target.session is not None and not self.out and not self.ended:
            self.ended = True
            self._connection.write(frame(frames.END, self.identity))
            self._over(self)

    def widen(self, window: int) -> None:
        """Let as many jobs be out from now on; in the writer."""
        self._window = window
        self.pump()

    def kill(self, job: Job) -> None:
        """Have BEAM end a job, if it is still out; in the writer."""
        if self.out.get(job.first) is job:
            self._connection.write(frame(frames.KILL, self.identity, job.first))

    def put(self, body: bytes | None) -> None:
        """Take a frame; in the reader."""
        got = None if body is None else frames.parse_any(body)
        if isinstance(got, driving.Outputs):
            job = self.out.pop(got.first, None)
            if job is not None:
                job.settle(Answer(got, None, job.many, job.answered()))
            # One order to the writer serves all answers that come before it is carried out.
            # Of sessions there may be many, so that theirs end once nothing is out.
            empty = self.target.session is not None and not self.out
            if (self.waiting or empty) and not self._asked:
                self._asked = True
                self._connection.writer.order(self.pump)
        elif isinstance(got, driving.Done):
            over = partial(BeamClosed, "the run has ended")
            made = (
                over
                if got.error is None
                else partial(to_exception, got.error, self._connection.objects)
            )
            self._connection.writer.order(self.fail, made)

    def fail(self, made: Callable[[], Exception]) -> None:
        """Fail what is left, each with an exception of its own; in the writer."""
        self.ended = True
        while self.out:
            _first, job = self.out.popitem()
            job.settle(Answer(None, made, job.many))
        while self.waiting:
            self.waiting.popleft().fail(made)
        if self.target.session is not None:
            self._over(self)

    def drop(self, cancelled: list[Job]) -> None:
        """Take out jobs that were cancelled while they waited; in the writer."""
        for job in cancelled:
            self.waiting.remove(job)
            job.forget()


Opens: TypeAlias = Callable[[Connection, Target, int, Callable[[Window], object]], Window]
"""What begins a run: a class of windows."""


def encoded(
    calls: Sequence[Arguments],
    target: Target,
    codec: Codec,
    sharing: Sharing | None = None,
) -> tuple[bytes, Exception | None]:
    """Encode the arguments of calls that go together, or return why that can't be."""
    try:
        with blobs.sharing(sharing):
            body, _count, refused = batches.pack(
                [[[*map(blobs.lifted, args)], named] for args, named in calls], codec=codec
            )
    except Exception as error:  # noqa: BLE001 - a value of the user's that raises when it is read
        return b"", error
    # A job is sent whole or not at all: an error says which argument could not be sent.
    if refused:
        return b"", _renamed(next(iter(refused.values())), target.is_of_any)
    joined = b"".join(body)
    if len(joined) > batches.LIMIT:
        return b"", EncodeError("args", batches.too_large(len(joined)))
    return joined, None


def _renamed(error: EncodeError, named: bool) -> EncodeError:
    """Name the arguments, not the lists that they are sent in.

    ``named`` calls are of the function that is given a module, a name and then the arguments.
    """
    path = error.path[error.path.index("]") + 1 :]
    positional = "[0]"
    if named:
        path, positional = path[3:], "[2]"
    root = "args" if path.startswith(positional) else "kwargs"
    return EncodeError(root + path[3:], error.reason)
