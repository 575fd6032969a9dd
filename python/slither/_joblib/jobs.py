"""The jobs of one call of Parallel: batches that are out, and those whose worker is lost.

joblib's threads submit and abort; the Beam's relay takes what comes for them.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, Literal, TypeAlias

from slither._by_value import together
from slither._driver.errors_in import RemoteTraceback
from slither._driver.futures import CallFuture
from slither._errors import CallError, CallKilled, CallTimeout, MemoryExceeded, WorkerDied
from slither._joblib import crossing, fits, worker
from slither._joblib.arrays import Arrays
from slither._joblib.beams import Kept
from slither._joblib.folder import Folder

Outcome: TypeAlias = tuple[bool, Any]
Lost: TypeAlias = Literal["raise", "return"]
# What ends a worker, and so costs all the calls of a batch.
_LOST = (CallTimeout, MemoryExceeded, WorkerDied)


class Jobs:
    """What one call of Parallel has in the workers."""

    def __init__(
        self, kept: Kept, folder: Folder, arrays: Arrays, timeout: float | None, lost: Lost
    ) -> None:
        """``timeout`` is in seconds for a call; ``lost`` says what becomes of a lost one."""
        self._kept, self._folder, self._arrays = kept, folder, arrays
        self._timeout, self._lost = timeout, lost
        self._lock = threading.Lock()
        self._out: set[CallFuture[Any]] = set()
        self._ended = False

    def submit(self, batch: Any) -> Future[Any]:
        """Have a worker run a batch of joblib's; the future has the list of its results."""
        whole: Future[Any] = Future()
        self._send(batch, partial(self._settle, whole, batch))
        return whole

    def abort(self) -> None:
        """End what runs, with its workers, and cancel what waits."""
        with self._lock:
            self._ended = True
            out = list(self._out)
        for future in out:
            future.kill()

    ## In the Beam's relay, or where a job can't be sent in the thread that submits it

    def _send(self, batch: Any, told: Callable[[Outcome], None]) -> None:
        try:
            future, used = self._queue(batch)
        except Exception as error:  # noqa: BLE001 - what it raises is of the user's objects
            told((False, _unsent(error)))
            return
        with self._lock:
            self._out.add(future)
            ended = self._ended
        future.add_done_callback(lambda _future: told(self._outcome(future, used)))
        if ended:
            future.kill()

    def _queue(self, batch: Any) -> tuple[CallFuture[Any], set[str]]:
        data, used = crossing.dumps(batch, self._arrays)
        try:
            folder = self._folder.path()
            sealed = crossing.seal(data, self._kept.key, folder)
            limit = None if self._timeout is None else self._timeout * len(batch)
            future: CallFuture[Any] = self._kept.beam.submit_with(
                worker.run, [sealed, folder], timeout=limit
            )
        except BaseException:
            self._arrays.release(used)
            raise
        return future, used

    def _outcome(self, future: CallFuture[Any], used: set[str]) -> Outcome:
        with self._lock:
            self._out.discard(future)
        try:
            self._arrays.release(used)
            fine, found, trace = crossing.opened(future.result(), self._kept.key)
            found = found if fine else together(found)
        except CancelledError:
            return False, CallKilled("the call of joblib was aborted", {"kind": "killed"})
        except CallTimeout as error:
            # It names the option of a single call.
            text = str(error).replace("raise timeout=", "raise call_timeout=")
            return False, CallTimeout(text, error.facts)
        except BaseException as error:  # noqa: BLE001 - it is the outcome
            # The trace of this thread says nothing of the call's.
            return False, error.with_traceback(None)
        if not fine:
            _cause(found, trace)
        return fine, found

    def _settle(self, whole: Future[Any], batch: Any, outcome: Outcome) -> None:
        fine, found = outcome
        if fine:
            whole.set_result(found)
        elif isinstance(found, _LOST) and not self._ended:
            self._on_lost(whole, batch, found)
        else:
            whole.set_exception(found)

    def _on_lost(self, whole: Future[Any], batch: Any, error: CallError) -> None:
        if len(batch) > 1:
            # One of its calls ended the worker: each goes by itself, so that it alone is lost.
            parts = _Parts(whole, len(batch))
            for place, call in enumerate(batch.items):
                one = type(batch)([call], (batch._backend, batch._n_jobs), None, {})
                self._send(one, partial(self._put, parts, place, one))
            return
        fine, found = self._of_one(batch, (False, error))
        if fine:
            whole.set_result(found)
        else:
            whole.set_exception(found)

    def _put(self, parts: _Parts, place: int, one: Any, outcome: Outcome) -> None:
        parts.put(place, self._of_one(one, outcome))

    def _of_one(self, batch: Any, outcome: Outcome) -> Outcome:
        fine, error = outcome
        if fine or not isinstance(error, _LOST) or self._ended:
            return outcome
        if self._lost == "return":
            return True, [error]
        try:
            function, args, kwargs = batch.items[0]
            return fits.failed(function, args, kwargs, error)
        except BaseException as made:  # noqa: BLE001 - it is the outcome
            return False, made


class _Parts:
    """The results of a batch whose calls were sent one by one."""

    def __init__(self, whole: Future[Any], count: int) -> None:
        self._whole = whole
        self._found: list[Any] = [None] * count
        self._left = count
        self._lock = threading.Lock()

    def put(self, place: int, outcome: Outcome) -> None:
        fine, found = outcome
        with self._lock:
            self._left -= 1
            last = self._left == 0
            if fine:
                self._found[place] = found[0]
            failed = not fine and not self._whole.done()
            if failed:
                self._left = -1
        if failed:
            self._whole.set_exception(found)
        elif last:
            self._whole.set_result(self._found)


def _unsent(error: Exception) -> Exception:
    made = pickle.PicklingError("could not pickle the task to send to the workers")
    made.__cause__ = error
    return made


def _cause(error: BaseException, trace: str) -> None:
    # As of any exception of a worker's; what it was raised from stands in the text, too.
    error.__cause__ = RemoteTraceback(trace)
