"""Single calls of one function, each with a future: the driver's side of a run without an end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from slither._driver import batches, frames
from slither._driver.faults import to_error, to_exception
from slither._errors import BeamDied, EncodeError, SlitherError

if TYPE_CHECKING:
    from slither._driver.link import Link
    from slither._types import Payload

Arguments = tuple[Sequence[object], dict[str, object]]
Outcome = tuple[bool, Any]
"""Whether a call returned, and what it returned or raised."""


class _Job(NamedTuple):
    """Calls that go to a worker together, and who gets their outcomes."""

    future: Future[Any]
    calls: Sequence[Arguments]
    settle: Callable[[Future[Any], list[Outcome]], None]


class Calls:
    """Hands calls on as workers have room for them, and answers to their futures."""

    def __init__(self, link: Link, target: tuple[str, str], window: int) -> None:
        """Start the run; at most ``window`` jobs are out, the others can be cancelled."""
        self._link = link
        self._window = window
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._out: dict[int, _Job] = {}
        self._next = 0
        self.ended = False
        """Whether the run takes no more calls."""
        self._identity = link.new_id()
        spec: dict[str, Payload] = {
            "target": ["apply", *target],
            "max_in_flight": window,
            "ordering": "as_completed",
            "on_error": "skip",
            "timeout": None,
        }
        link.start(self._identity, self, "map", spec)

    def submit(self, arguments: Sequence[object], named: dict[str, object]) -> Future[Any]:
        """Queue one call and return the future of its result."""
        return self._queue([(arguments, named)], _settle_one)

    def submit_many(self, calls: Sequence[Arguments]) -> Future[list[Outcome]]:
        """Queue calls that go to a worker together, and return the future of their outcomes."""
        return self._queue(calls, _settle_many)

    def cancel_waiting(self) -> None:
        """Cancel the calls that no worker has."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            job.future.cancel()

    def close(self) -> None:
        """Give the run up."""
        self.ended = True
        self._link.cancel(self._identity)

    def _queue(
        self, calls: Sequence[Arguments], settle: Callable[[Future[Any], list[Outcome]], None]
    ) -> Future[Any]:
        future: Future[Any] = Future()
        self._link.keep_reading()
        future.add_done_callback(self._let_be)
        with self._lock:
            self._waiting.append(_Job(future, calls, settle))
        self._send_more()
        return future

    def _let_be(self, _future: Future[Any]) -> None:
        self._link.let_be()

    def _send_more(self) -> None:
        while (job := self._pick()) is not None:
            try:
                body, count, refused = batches.pack([[list(a), n] for a, n in job.calls])
                size = sum(map(len, body))
                if not refused and size <= batches.LIMIT:
                    self._send(job, body, count)
                    continue
                # All of a job's calls or none: the errors say which could not be sent.
                failure: Exception = EncodeError("args", batches.too_large(size))
                if refused:
                    failure = _renamed(next(iter(refused.values())))
            except SlitherError as error:
                failure = error
            job.future.set_exception(failure)

    def _send(self, job: _Job, body: batches.Body, count: int) -> None:
        # Numbered as it is sent: BEAM counts what it is fed.
        with self._lock:
            first = self._next
            self._out[first] = job
            try:
                self._link.send(*batches.feed(self._identity, body, count))
            except SlitherError:
                del self._out[first]
                raise
            self._next += count

    def _pick(self) -> _Job | None:
        with self._lock:
            while self._waiting and len(self._out) < self._window:
                job = self._waiting.popleft()
                if job.future.set_running_or_notify_cancel():
                    return job
            return None

    ## Frames, in the thread that reads

    def receive(self, got: frames.Outputs | frames.Done | frames.More) -> None:
        """Take the answers of one job."""
        if isinstance(got, frames.Outputs):
            with self._lock:
                job = self._out.pop(got.first, None)
            if job is not None:
                self._settle(job, got)
            self._send_more()
        elif isinstance(got, frames.Done):
            self.ended = True
            error = to_error(got.error) if got.error else BeamDied("the run has ended")
            self._fail(error)

    def died(self, error: BeamDied) -> None:
        """Fail what is out: there will be no answer."""
        self.ended = True
        self._fail(error)

    def _settle(self, job: _Job, got: frames.Outputs) -> None:
        errors = got.errors or {}
        try:
            values = batches.unpack(got.values, got.count)
        except SlitherError as error:
            job.future.set_exception(error)
            return
        outcomes: list[Outcome] = [(True, value) for value in values]
        for index, fault in errors.items():
            outcomes[index] = (False, to_exception(fault))
        job.settle(job.future, outcomes)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            out, self._out = list(self._out.values()), {}
            waiting, self._waiting = self._waiting, deque()
        for job in out:
            job.future.set_exception(error)
        for job in waiting:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)


def _settle_one(future: Future[Any], outcomes: list[Outcome]) -> None:
    fine, value = outcomes[0]
    if fine:
        future.set_result(value)
    else:
        future.set_exception(value)


def _settle_many(future: Future[Any], outcomes: list[Outcome]) -> None:
    future.set_result(outcomes)


def _renamed(error: EncodeError) -> EncodeError:
    """Name the arguments, not the lists that they are sent in."""
    path = error.path[error.path.index("]") + 1 :]
    root = "args" if path.startswith("[0]") else "kwargs"
    return EncodeError(root + path[3:], error.reason)
