"""``concurrent.futures`` over a pool that BEAM keeps.

Any thread of the program uses it; ``shutdown(wait=False)`` has the writer end it later.
"""

from __future__ import annotations

import concurrent.futures
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from slither import _options
from slither._driver import settings
from slither._driver.beam import Beam
from slither._driver.by_value import is_possible
from slither._driver.callee import Callee
from slither._driver.futures import CallFuture, Outcome
from slither._driver.window import Group
from slither._errors import BeamClosed
from slither._typed.functions import of_result
from slither._types import Payload

R = TypeVar("R")

# Seconds that the end of a map waits for callbacks of others.
_CALLBACKS = 1.0


class Executor(concurrent.futures.Executor):
    """A drop-in for :class:`concurrent.futures.ProcessPoolExecutor`.

    ::

        with slither.Executor(max_workers=4) as executor:
            future = executor.submit(score, row)
            scores = list(executor.map(score, rows, chunksize=64))

    What differs: arguments and results go as the protocol's values, and a worker that dies fails
    only the call that it ran: the pool goes on. An argument or a result that can't be sent fails
    its own future, with the path to the value. A worker's death is a :class:`slither.WorkerDied`,
    which ``except BrokenProcessPool`` takes, too. Exceptions are raised as what they were, with
    the worker's traceback as the cause.

    Arguments: ``max_workers``, by default one for each core; ``mp_context``, which says nothing
    here, as BEAM starts the workers; ``initializer``, a function that each worker calls first,
    with ``initargs``; ``max_tasks_per_child``, calls that a worker takes at most, a chunk of
    :meth:`map` counting as one: it ends then, and another starts in its place
    (``pool={"spare": 1}`` has one ready); ``timeout``, seconds that a call may run, or None for
    ever; ``by_value``, whether functions that workers can't import go to them as pickles (see
    :class:`slither.Beam`): by default where ``cloudpickle`` is installed; ``beam``, a
    :class:`slither.Beam` that is there already, which :meth:`shutdown` leaves open; or else
    options of one for itself.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: object = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[object, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        beam: Beam | None = None,
        timeout: float | None = None,
        by_value: bool | None = None,
        **options: Payload,
    ) -> None:
        """Start a Beam, unless one is given."""
        if max_tasks_per_child is not None:
            more = {**(options.pop("pool", None) or {}), "max_calls": _tasks(max_tasks_per_child)}
            options["pool"] = more
        if beam is not None and (max_workers is not None or initializer is not None or options):
            raise ValueError("options of the pool belong to the Beam that is given")
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._timeout = settings.milliseconds("timeout", timeout)
        initializer = _needed(initializer)
        self._own = beam is None
        if by_value is not None:
            _options.checked("by_value", by_value, _options.BOOL)
        if by_value and beam is not None and not beam._functions.by_value:
            raise ValueError("by_value=True: the Beam that is given is not Beam(by_value=True)")
        if by_value is None:
            by_value = is_possible()
        self._beam = beam or Beam(
            max_workers, initializer=initializer, initargs=initargs, by_value=by_value, **options
        )
        self._group = Group()
        self._shut = False

    def submit(self, fn: Callable[..., R], /, *args: Payload, **kwargs: Payload) -> CallFuture[R]:
        """Call ``fn(*args, **kwargs)`` in a worker, and return a future for the result.

        Raises :class:`slither.NotImportable` for a function that workers can't import, and
        RuntimeError after :meth:`shutdown`.
        """
        self._refuse()
        if type(fn) is _Together:
            return self._chunk(fn.callee, list(args))  # type: ignore[return-value]
        return self._beam._submit(self._callee(fn), args, kwargs, self._group)

    @property
    def _max_workers(self) -> int:
        # Libraries read it of executors of the standard library.
        return self._beam.workers

    def kill(self, future: CallFuture[R]) -> bool:
        """End the call of a future, with the worker that runs it: see ``future.kill()``."""
        if not isinstance(future, CallFuture):
            raise TypeError(f"future is one that submit() returned, not {future!r:.80}")
        return future.kill()

    def map(
        self,
        fn: Callable[..., R],
        /,
        *iterables: Iterable[Payload],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]:
        """Return the results of ``fn`` over the items of the iterables, in order.

        ``chunksize`` items go to a worker together, which is far quicker than one by one. The
        iterables are read at once, or ``buffersize`` chunks ahead of the results where that is
        given. ``timeout`` is in seconds from this call; TimeoutError is raised when a result is
        not there by then.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        callee = self._callee(fn)
        deadline = None if timeout is None else time.monotonic() + timeout
        calls = zip(*iterables, strict=False)
        queued = [self._together(callee, part) for part in _chunks(calls, chunksize, buffersize)]
        rest = _chunks(calls, chunksize, None) if buffersize is not None else iter(())
        return self._results(callee, queued, rest, deadline)

    def _results(
        self,
        callee: Callee,
        queued: list[CallFuture[list[Outcome]]],
        rest: Iterator[list[tuple[Payload, ...]]],
        deadline: float | None,
    ) -> Iterator[R]:
        queued.reverse()
        try:
            while queued:
                future = queued.pop()
                outcomes = future.result(
                    None if deadline is None else max(0.0, deadline - time.monotonic())
                )
                for part in islice(rest, 1):
                    queued.insert(0, self._together(callee, part))
                # Nothing here keeps a result that has been given.
                del future
                outcomes.reverse()
                while outcomes:
                    if not outcomes[-1][0]:
                        raise outcomes[-1][1]
                    yield outcomes.pop()[1]
            if "submit" in vars(self):
                # What a library has added to futures is done when the results are there.
                self._beam._link.relay.drain(_CALLBACKS)
        finally:
            for future in queued:
                future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the pool when those that are out have ended.

        ``wait``: whether to return only then; ``cancel_futures``: whether to cancel the calls
        that no worker has yet.
        """
        first, self._shut = not self._shut, True
        if wait and self._beam._link.relay.is_current():
            self._shut = not first
            raise RuntimeError(
                "shutdown(wait=True) was called in a done callback, which would wait for the "
                "callbacks after it; call shutdown(wait=False)"
            )
        calls = self._beam._calls
        if cancel_futures:
            calls.cancel_waiting(self._group)
        if wait:
            calls.await_none(self._group)
            self._end()
        elif first and self._own:
            calls.when_none(self._group, self._end)

    def _end(self) -> None:
        if self._own:
            self._beam.close()

    def _together(
        self, callee: Callee, calls: list[tuple[Payload, ...]]
    ) -> CallFuture[list[Outcome]]:
        # By ``submit``, as the standard executors do it: libraries put their own in its place,
        # such as one that moves a progress bar.
        return self.submit(_Together(callee), *calls)

    def _chunk(
        self, callee: Callee, calls: list[tuple[Payload, ...]]
    ) -> CallFuture[list[Outcome]]:
        return self._beam._calls.submit(
            self._beam,
            callee.target,
            [callee.call(call, {}) for call in calls],
            many=True,
            group=self._group,
            called=callee.called,
            held=callee.held,
            typed=callee.typed,
        )

    def _callee(self, fn: Callable[..., object]) -> Callee:
        found = self._beam._functions.called(fn)
        return Callee.of(found, self._timeout, typed=of_result(fn, "item"))

    def _refuse(self) -> None:
        closed = isinstance(self._beam._link.death, BeamClosed)
        if self._shut or closed:
            what = "interpreter shutdown" if closed and not self._shut else "shutdown"
            raise RuntimeError(f"cannot schedule new futures after {what}")


class _Together:
    """Stands for a function whose calls go to a worker together."""

    def __init__(self, callee: Callee) -> None:
        self.callee = callee

    def __call__(self, *calls: tuple[Payload, ...]) -> list[Outcome]:
        raise TypeError("calls that go together are submitted, not called")


def _needed(initializer: Callable[..., object] | None) -> Callable[..., object] | None:
    # tqdm has each process share a lock for the terminal. What workers draw goes by way of this
    # program, which keeps it in order; a lock can't be sent.
    bars = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    owner = getattr(initializer, "__self__", None)
    is_lock = getattr(initializer, "__name__", "") == "set_lock"
    if is_lock and bars is not None and isinstance(owner, type) and issubclass(owner, bars):
        return None
    return initializer


def _tasks(count: object) -> int:
    # The errors of ProcessPoolExecutor.
    if not isinstance(count, int):
        raise TypeError(f"max_tasks_per_child takes an int, not {count!r:.80}")
    if count <= 0:
        raise ValueError(f"max_tasks_per_child takes 1 or more, not {count}")
    return int(count)


def _chunks(
    calls: Iterator[tuple[Payload, ...]], size: int, most: int | None
) -> Iterator[list[tuple[Payload, ...]]]:
    while most is None or most > 0:
        part = list(islice(calls, size))
        if not part:
            return
        yield part
        most = None if most is None else most - 1
