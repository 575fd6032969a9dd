"""All single calls of a Beam: queued in the thread that submits, sent as there is room.

The writer runs what is under "For the writer", which keeps the calls of each function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from slither._driver import traces
from slither._driver.connection import Connection
from slither._driver.futures import CallFuture
from slither._driver.sharing import Sharing
from slither._driver.turns import Turns
from slither._driver.window import Arguments, Group, Job, Opens, Target, Window, encoded
from slither._typed.functions import Typed
from slither._types import Payload
from slither._wire import frames
from slither._wire.build import frame
from slither._wire.frames import Log


class Calls:
    """All single calls of a Beam: the writer sends them as there is room, the reader settles."""

    def __init__(self, connection: Connection, workers: int, warn_after: float | None) -> None:
        """Begin with none; ``warn_after`` seconds a call that others wait for is reported."""
        self._connection = connection
        self._workers = workers
        # A worker holds at most four calls. One more may go out while an answer is on its way.
        self._window = 4 * workers + 1
        self._warn_after = warn_after
        self._warned = 0.0
        self._runs: dict[Target, Window] = {}
        self._turns: Turns[Job | Ending] = Turns()
        self.all = Group()
        """Every job."""
        connection.on_end = self._end
        if warn_after is not None:
            connection.writer.next_look = self._next_look
            connection.writer.look = self._look

    def submit(
        self,
        owner: object,
        target: Target,
        calls: Sequence[Arguments],
        *,
        many: bool = False,
        group: Group | None = None,
        called: str = "",
        held: object = None,
        typed: Typed | None = None,
    ) -> CallFuture[Any]:
        """Queue calls that go to a worker together, and return their future.

        Its result is that of the one call, or with ``many`` the list of all outcomes. Arguments
        are encoded here and now: what becomes of them later, or what raises then, is not seen.
        ``held`` lives until the future is settled.
        ``typed`` makes of a result what the function says that it gives.
        """
        sharing = Sharing(self._connection.shared())
        body, failure = encoded(calls, target, self._connection.codec, sharing)
        sharing.went(0, 1)
        return self.queue(
            owner,
            target,
            body,
            failure,
            len(calls),
            many=many,
            group=group,
            called=called,
            held=held,
            typed=typed,
            sharing=sharing,
        )

    def queue(
        self,
        owner: object,
        target: Target,
        body: bytes,
        failure: Exception | None,
        count: int = 1,
        *,
        many: bool = False,
        group: Group | None = None,
        called: str = "",
        held: object = None,
        typed: Typed | None = None,
        opens: Opens = Window,
        sharing: Sharing | None = None,
    ) -> CallFuture[Any]:
        """Queue what is encoded, for a run that ``opens`` begins; or fail its future at once."""
        self._connection.check()
        future: CallFuture[Any] = CallFuture(owner, self._connection, typed)
        if failure is not None:
            future.set_exception(failure)
            return future
        groups = (self.all,) if group is None else (self.all, group)
        job = Job(future, target, body, count, many, groups, opens, called=called, held=held)
        job.trace, job.sharing = traces.current(), sharing
        future.job = job
        self._connection.writer.order(self._take, job, refuse=self._refuse)
        return future

    def resized(self, workers: int) -> None:
        """Take note that the pool has another number of workers."""
        self._workers, self._window = workers, 4 * workers + 1
        self._connection.writer.order(self._widen)

    def end_session(self, session: str) -> None:
        """End a session after the calls of it that were submitted before, and wait for that."""
        link = self._connection
        link.refuse_ourselves()
        link.check()
        ending = Ending(session, self._pass_on, link)
        link.writer.order(self._end_session, ending, refuse=lambda ending: ending.put(None))
        link.answer(ending.told.get())

    def leave(self, target: Target) -> None:
        """End the run of a target that nobody calls any more; it may be a finaliser's."""
        self._connection.writer.order(self._leave, target)

    def cancel_waiting(self, group: Group) -> None:
        """Cancel the jobs of a group that no worker has; it never waits."""
        self._connection.writer.order(self._cancel_waiting, group)

    def await_none(self, group: Group) -> None:
        """Wait until no job of the group is left."""
        told: SimpleQueue[None] = SimpleQueue()
        self.when_none(group, partial(told.put, None))
        told.get()

    def when_none(self, group: Group, tell: Callable[[], None]) -> None:
        """Have the writer call ``tell``, which must be brief, when no job is left."""
        self._connection.writer.order(
            self._when_none, group, tell, refuse=lambda _group, tell: tell()
        )

    ## For the writer

    def _refuse(self, job: Job) -> None:
        job.fail(self._connection.gone)

    def _take(self, job: Job) -> None:
        if self._connection.death is not None:
            self._refuse(job)
            return
        for group in job.groups:
            group.left[job.number] = job
        target = job.target
        if target.session is None or self._turns.take(target.session, target, job):
            self._send([job])

    def _send(self, jobs: list[Job]) -> None:
        # Jobs of one target, as it has its turn now.
        target, opens = jobs[0].target, jobs[0].opens
        run = self._runs.get(target)
        try:
            if run is None or run.ended:
                run = opens(self._connection, target, self._window, self._over)
                self._runs[target] = run
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            for job in jobs:
                job.fail(partial(_same, error))
            self._over_of(target)
            return
        for job in jobs:
            job.run = run
        run.waiting.extend(jobs)
        run.pump()

    def _over(self, run: Window) -> None:
        if self._runs.get(run.target) is run:
            del self._runs[run.target]
        self._over_of(run.target)

    def _over_of(self, target: Target) -> None:
        # By an order of its own, as each window that is over may be followed by one that is
        # over at once, where all its calls were cancelled.
        if target.session is not None:
            self._connection.writer.order(self._pass_on, target.session, target)

    def _pass_on(self, session: str, key: Target | Ending) -> None:
        # By now the target may have begun again.
        if key in self._runs:
            return
        following = self._turns.over(session, key)
        jobs = [entry for entry in following if isinstance(entry, Job)]
        if jobs:
            self._send(jobs)
        for entry in following:
            if isinstance(entry, Ending):
                entry.send()

    def _end_session(self, ending: Ending) -> None:
        if self._connection.death is not None:
            ending.put(None)
        elif self._turns.take(ending.session, ending, ending):
            ending.send()

    def _widen(self) -> None:
        for run in list(self._runs.values()):
            run.widen(self._window)

    def _leave(self, target: Target) -> None:
        run = self._runs.pop(target, None)
        if run is not None and not run.ended:
            self._connection.cancel(run.identity)

    def _cancel_waiting(self, group: Group) -> None:
        for run in self._runs.values():
            run.drop([job for job in run.waiting if job.cancelled(group)])
        self._turns.drop(lambda held: isinstance(held, Job) and held.cancelled(group))

    def _when_none(self, group: Group, tell: Callable[[], None]) -> None:
        # The reader settles a job before it looks for waiters, and the writer, here, adds a
        # waiter before it looks at the jobs. So one of the two sees the other.
        group.waiting.append(tell)
        group.tell()

    def _end(self) -> None:
        for run in list(self._runs.values()):
            run.fail(self._connection.gone)
        for held in self._turns.clear():
            if isinstance(held, Job):
                held.fail(self._connection.gone)
            else:
                held.put(None)

    def _out(self) -> list[Job]:
        return [job for run in list(self._runs.values()) for job in list(run.out.values())]

    def _next_look(self) -> float | None:
        # Look only if there are more calls than workers, as no call waits otherwise.
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
            self._connection.relay.say(
                Log(0, "warning", "slither", f"{waiting} calls wait while others run: {named}", 0)
            )


def _same(error: Exception) -> Exception:
    return error


class Ending:
    """The end of a session: a request that takes its turn among the calls of that."""

    def __init__(
        self, session: str, over: Callable[[str, Ending], None], connection: Connection
    ) -> None:
        """Take what the writer calls once BEAM has answered."""
        self.session = session
        self._over, self._connection = over, connection
        self.told: SimpleQueue[bytes | None] = SimpleQueue()
        """Gets the body of BEAM's answer, or None where BEAM is gone."""

    def send(self) -> None:
        """Ask BEAM; in the writer."""
        identity = self._connection.new_id()
        self._connection.route(identity, self)
        arguments: dict[str, Payload] = {"session": self.session}
        self._connection.write(frame(frames.REQUEST, identity, "end_session", arguments))

    def put(self, body: bytes | None) -> None:
        """Take the answer, whichever thread has it."""
        self.told.put(body)
        self._connection.writer.order(self._over, self.session, self)
