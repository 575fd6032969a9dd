"""Single calls, each with a future: what the connection's writer and reader keep of them."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from slither._driver.errors_in import to_exception
from slither._errors import BeamDied, EncodeError, SlitherError
from slither._wire import batches, driver_frames
from slither._wire.frames import Log
from slither._worker.results import frame

if TYPE_CHECKING:
    from slither._driver.connection import Connection
    from slither._types import Payload

R = TypeVar("R")

Arguments = tuple[Sequence[object], dict[str, object]]
Outcome = tuple[bool, Any]
"""Whether a call returned, and what it returned or raised."""
Target = tuple[str, str, int | None]
"""A function's module and name, and the milliseconds that a call may take."""

# Seconds for which the reader, and then the relay, waits for a future that somebody has locked:
# an interrupted thread may have left it so.
_BRIEF, _LOCKED = 0.05, 1.0


class Answer:
    """What came for a job, as bytes, or why nothing will: read by who asks for it."""

    __slots__ = ("_error", "_got", "_many")

    def __init__(
        self, got: driver_frames.Outputs | None, error: Callable[[], Exception] | None, many: bool
    ) -> None:
        """Take the frame, or what makes an exception in its place."""
        self._got, self._error, self._many = got, error, many

    @property
    def failed(self) -> bool:
        """Whether a future of it has an exception."""
        return self._got is None or (not self._many and bool(self._got.errors))

    def read(self) -> Outcome:
        """Decode it."""
        if self._got is None:
            assert self._error is not None
            return False, self._error()
        try:
            outcomes = _outcomes(self._got)
        except SlitherError as error:
            return False, error
        return (True, outcomes) if self._many else outcomes[0]


class _Unread(Exception):
    """Stands in a future for an exception that nobody has asked for yet."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class CallFuture(Future[R]):
    """The future of a call. It keeps its Beam alive, and can end a call that runs."""

    def __init__(self, owner: object, connection: Connection) -> None:
        """Take who lives as long as it does."""
        super().__init__()
        self._owner = owner
        self._connection = connection
        self._job: Job | None = None

    def result(self, timeout: float | None = None) -> R:
        """Return what the call returned, or raise what it raised, as any future does."""
        if not self.done():
            self._connection.refuse_ourselves()
        try:
            value: Any = super().result(timeout)
        except _Unread as unread:
            value = unread.answer
        self._connection.relay.catch_up()
        if not isinstance(value, Answer):
            return value  # type: ignore[no-any-return]
        fine, made = self._made(value)
        if fine:
            return made  # type: ignore[no-any-return]
        try:
            raise made
        finally:
            # The traceback of the exception holds this frame.
            del made, self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None, as any future does."""
        if not self.done():
            self._connection.refuse_ourselves()
        error = super().exception(timeout)
        self._connection.relay.catch_up()
        if isinstance(error, _Unread):
            made: BaseException = self._made(error.answer)[1]
            return made
        if error is None:
            fine, made = self._read_whole()
            return None if fine else made
        return error

    def kill(self) -> bool:
        """End the call, with the worker that runs it; return False where it has ended already.

        It costs this call alone: others that the worker holds go to another, and it is replaced.
        The future has a :class:`slither.CallKilled` then. One that has not begun is cancelled.
        """
        if self.cancel():
            return True
        job = self._job
        if self.done() or job is None:
            return False
        self._connection.order(job.kill)
        return True

    def _read_whole(self) -> Outcome:
        value: Any = super().result(0)
        return self._made(value) if isinstance(value, Answer) else (True, value)

    def _made(self, answer: Answer) -> Outcome:
        # Of several threads that ask at once, all get what the first has made.
        made: Outcome = self.__dict__.setdefault("_read", answer.read())
        return made

    def _invoke_callbacks(self) -> None:
        # Callbacks are the user's code: where a thread of ours settles it, the relay runs them.
        if not self._connection.is_ours():
            super()._invoke_callbacks()  # type: ignore[misc]
        elif self._done_callbacks:  # type: ignore[attr-defined]
            self._connection.relay.call(super()._invoke_callbacks)  # type: ignore[misc]

    def settle(self, answer: Answer) -> None:
        """Give it its answer, or have the relay do so where somebody holds its lock."""
        lock = self._condition
        # Who asks for the result holds it for a moment.
        if lock.acquire(timeout=_BRIEF):
            try:
                self._set(answer)
            finally:
                lock.release()
        else:
            self._connection.relay.call(lambda: self._settle_late(answer))

    def _settle_late(self, answer: Answer) -> None:
        lock = self._condition
        held = lock.acquire(timeout=_LOCKED)
        if not held:
            # A Ctrl-C can leave a future's lock taken for ever; nobody else must wait for it.
            self._condition = type(lock)()
        try:
            self._set(answer)
        finally:
            if held:
                lock.release()

    def _set(self, answer: Answer) -> None:
        # Who holds what came needs no Beam any more.
        self._owner = None
        if answer.failed:
            self.set_exception(_Unread(answer))
        else:
            self.set_result(answer)  # type: ignore[arg-type]


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


class Job:
    """Calls that go to a worker together, encoded, and the future that gets their outcomes."""

    __slots__ = ("body", "count", "first", "future", "groups", "many", "number", "run", "since")

    def __init__(
        self,
        future: CallFuture[Any],
        body: bytes,
        count: int,
        many: bool,
        groups: tuple[Group, ...],
    ) -> None:
        """Take all that it is; it has no place yet."""
        self.future, self.body, self.count, self.many = future, body, count, many
        self.groups = groups
        self.number = _numbers()
        self.run: _Run | None = None
        self.first = 0
        self.since = 0.0

    def settle(self, answer: Answer) -> None:
        """Settle the future, and have the writer tell who waits for the last of a group."""
        future = self.future
        future.settle(answer)
        for group in self.groups:
            if group.settled(self.number):
                future._connection.order(group.tell)

    def kill(self) -> None:
        """Have BEAM end it, if it is out; in the writer."""
        if self.run is not None:
            self.run.kill(self)

    def name(self) -> str:
        """Name the function."""
        return "" if self.run is None else ".".join(self.run.target[:2])


_numbers = itertools.count(1).__next__


class Jobs:
    """All single calls of a Beam: the writer sends them as there is room, the reader settles."""

    def __init__(self, connection: Connection, workers: int, warn_after: float | None) -> None:
        """Begin with none; ``warn_after`` seconds a call that others wait for is reported."""
        self._connection = connection
        self._workers = workers
        # As many as workers hold at most, and one: answers and calls cross all the time.
        self._window = 4 * workers + 1
        self._warn_after = warn_after
        self._warned = 0.0
        self._runs: dict[Target, _Run] = {}
        self.all = Group()
        """Every job."""
        connection.on_end = self._end
        if warn_after is not None:
            connection.next_look = self._next_look
            connection.look = self._look

    def submit(
        self,
        owner: object,
        target: Target,
        calls: Sequence[Arguments],
        *,
        many: bool = False,
        group: Group | None = None,
    ) -> CallFuture[Any]:
        """Queue calls that go to a worker together, and return their future.

        Its result is that of the one call, or with ``many`` the list of all outcomes. Arguments
        are encoded here and now: what becomes of them later, or what raises then, is not seen.
        """
        self._connection.check()
        future: CallFuture[Any] = CallFuture(owner, self._connection)
        body, failure = _encoded(calls)
        if failure is not None:
            future.set_exception(failure)
            return future
        groups = (self.all,) if group is None else (self.all, group)
        job = future._job = Job(future, body, len(calls), many, groups)
        self._connection.order(self._take, target, job, refuse=self._refuse)
        return future

    def cancel_waiting(self, group: Group) -> None:
        """Cancel the jobs of a group that no worker has; it never waits."""
        self._connection.order(self._cancel_waiting, group)

    def await_none(self, group: Group) -> None:
        """Wait until no job of the group is left."""
        told: SimpleQueue[None] = SimpleQueue()
        self.when_none(group, partial(told.put, None))
        told.get()

    def when_none(self, group: Group, tell: Callable[[], None]) -> None:
        """Have the writer call ``tell``, which must be brief, when no job is left."""
        self._connection.order(self._when_none, group, tell, refuse=lambda _group, tell: tell())

    ## For the writer

    def _refuse(self, _target: Target, job: Job) -> None:
        job.settle(Answer(None, self._connection.gone, job.many))

    def _take(self, target: Target, job: Job) -> None:
        if self._connection.death is not None:
            self._refuse(target, job)
            return
        run = self._runs.get(target)
        if run is None or run.ended:
            run = self._runs[target] = _Run(self._connection, target, self._window)
        for group in job.groups:
            group.left[job.number] = job
        job.run = run
        run.waiting.append(job)
        run.pump()

    def _cancel_waiting(self, group: Group) -> None:
        for run in self._runs.values():
            left = [job for job in run.waiting if group in job.groups and job.future.cancel()]
            run.drop(left)

    def _when_none(self, group: Group, tell: Callable[[], None]) -> None:
        # First noted, then looked at: the reader settles meanwhile, and looks after it has.
        group.waiting.append(tell)
        group.tell()

    def _end(self) -> None:
        for run in list(self._runs.values()):
            run.fail(self._connection.gone)

    def _out(self) -> list[Job]:
        return [job for run in list(self._runs.values()) for job in list(run.out.values())]

    def _next_look(self) -> float | None:
        # Who has a worker for each call has nobody wait.
        return self._warn_after if len(self.all.left) > self._workers else None

    def _look(self) -> None:
        now = time.monotonic()
        after = self._warn_after or 0.0
        old = sorted(self._out(), key=lambda job: job.since)[: self._workers]
        stuck = [job for job in old if now - job.since >= after]
        if stuck and now - self._warned >= after:
            self._warned = now
            named = ", ".join(f"{job.name()} for {now - job.since:.0f} s" for job in stuck)
            waiting = len(self.all.left) - len(stuck)
            self._connection.relay.show(
                Log(0, "warning", "slither", f"{waiting} calls wait while others run: {named}", 0)
            )


class _Run:
    """The calls of one function: a map run without an end."""

    def __init__(self, connection: Connection, target: Target, window: int) -> None:
        self._connection, self._window = connection, window
        self.target = target
        self.waiting: deque[Job] = deque()
        self.out: dict[int, Job] = {}
        self.ended = False
        self._asked = False
        self._next = 0
        self.identity = connection.new_id()
        spec: dict[str, Payload] = {
            "target": ["apply", target[0], target[1]],
            "max_in_flight": window,
            "ordering": "as_completed",
            "on_error": "skip",
            "timeout": target[2],
        }
        connection.route(self.identity, self)
        self._write((frame(driver_frames.START, self.identity, "map", spec),))

    def pump(self) -> None:
        """Send what there is room for; in the writer."""
        self._asked = False
        while self.waiting and len(self.out) < self._window and not self.ended:
            job = self.waiting.popleft()
            if not job.future.set_running_or_notify_cancel():
                _forget(job)
                continue
            job.first, job.since = self._next, time.monotonic()
            self.out[job.first] = job
            self._next += job.count
            self._write(batches.feed(self.identity, job.first, [job.body], job.count))
            job.body = b""

    def kill(self, job: Job) -> None:
        """Have BEAM end a job, if it is still out; in the writer."""
        if self.out.get(job.first) is job:
            self._write((frame(driver_frames.KILL, self.identity, job.first),))

    def _write(self, pieces: batches.Pieces) -> None:
        self._connection.write(pieces, sum(map(len, pieces)))

    def put(self, body: bytes | None) -> None:
        """Take a frame; in the reader."""
        got = None if body is None else driver_frames.parse(body)
        if isinstance(got, driver_frames.Outputs):
            job = self.out.pop(got.first, None)
            if job is not None:
                job.settle(Answer(got, None, job.many))
            # One order is enough for all that comes before it is carried out.
            if self.waiting and not self._asked:
                self._asked = True
                self._connection.order(self.pump)
        elif isinstance(got, driver_frames.Done):
            fault = got.error
            made = self._over if fault is None else lambda: to_exception(fault)
            self._connection.order(self.fail, made)

    def _over(self) -> Exception:
        return BeamDied("the run has ended")

    def fail(self, made: Callable[[], Exception]) -> None:
        """Fail what is left, each with an exception of its own; in the writer."""
        self.ended = True
        while self.out:
            _first, job = self.out.popitem()
            job.settle(Answer(None, made, job.many))
        while self.waiting:
            job = self.waiting.popleft()
            if job.future.set_running_or_notify_cancel():
                job.settle(Answer(None, made, job.many))
            else:
                _forget(job)

    def drop(self, cancelled: list[Job]) -> None:
        """Take out jobs that were cancelled while they waited; in the writer."""
        for job in cancelled:
            self.waiting.remove(job)
            _forget(job)


def _forget(job: Job) -> None:
    for group in job.groups:
        group.settled(job.number)
        group.tell()


def _encoded(calls: Sequence[Arguments]) -> tuple[bytes, Exception | None]:
    try:
        body, _count, refused = batches.pack([[list(args), named] for args, named in calls])
    except Exception as error:  # noqa: BLE001 - a value of the user's that raises when it is read
        return b"", error
    # All of a job's calls or none: the errors say which could not be sent.
    if refused:
        return b"", _renamed(next(iter(refused.values())))
    joined = b"".join(body)
    if len(joined) > batches.LIMIT:
        return b"", EncodeError("args", batches.too_large(len(joined)))
    return joined, None


def _outcomes(got: driver_frames.Outputs) -> list[Outcome]:
    values = batches.unpack(got.values, got.count)
    outcomes: list[Outcome] = [(True, value) for value in values]
    for index, fault in (got.errors or {}).items():
        outcomes[index] = (False, to_exception(fault))
    return outcomes


def _renamed(error: EncodeError) -> EncodeError:
    """Name the arguments, not the lists that they are sent in."""
    path = error.path[error.path.index("]") + 1 :]
    root = "args" if path.startswith("[0]") else "kwargs"
    return EncodeError(root + path[3:], error.reason)
