"""The single calls of one function: those that wait, and those that are out.

The writer sends as there is room; the reader settles what comes. What both touch are a dict and a
deque, each change of which is one step.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from slither._driver.connection import Connection
from slither._driver.errors_in import to_exception
from slither._driver.futures import Answer
from slither._driver.job import Job, Target
from slither._errors import BeamDied
from slither._types import Payload
from slither._wire import batches, frames
from slither._wire.build import frame


class Window:
    """The calls of one function: a map run without an end."""

    def __init__(self, connection: Connection, target: Target, window: int) -> None:
        """Begin the run, in which as many as ``window`` jobs may be out."""
        self._connection, self._window = connection, window
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
        connection.write(frame(frames.START, self.identity, "map", spec))

    def pump(self) -> None:
        """Send what there is room for; in the writer."""
        self._asked = False
        while self.waiting and len(self.out) < self._window and not self.ended:
            job = self.waiting.popleft()
            if not job.future.set_running_or_notify_cancel():
                job.forget()
                continue
            job.first, job.since = self._next, time.monotonic()
            self.out[job.first] = job
            self._next += job.count
            self._connection.write(*batches.feed(self.identity, job.first, [job.body], job.count))
            job.body = b""

    def kill(self, job: Job) -> None:
        """Have BEAM end a job, if it is still out; in the writer."""
        if self.out.get(job.first) is job:
            self._connection.write(frame(frames.KILL, self.identity, job.first))

    def put(self, body: bytes | None) -> None:
        """Take a frame; in the reader."""
        got = None if body is None else frames.parse_any(body)
        if isinstance(got, frames.Outputs):
            job = self.out.pop(got.first, None)
            if job is not None:
                job.settle(Answer(got, None, job.many))
            # One order is enough for all the answers that come before it is carried out.
            if self.waiting and not self._asked:
                self._asked = True
                self._connection.writer.order(self.pump)
        elif isinstance(got, frames.Done):
            fault = got.error
            made = self._over if fault is None else lambda: to_exception(fault)
            self._connection.writer.order(self.fail, made)

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
                job.forget()

    def drop(self, cancelled: list[Job]) -> None:
        """Take out jobs that were cancelled while they waited; in the writer."""
        for job in cancelled:
            self.waiting.remove(job)
            job.forget()
