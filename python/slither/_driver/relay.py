"""The thread ``slither-relay``, which runs code of the user's, and so may take any time.

That code is the callbacks of futures, and the handlers and streams that show logs and prints.
The reader and the writer give it jobs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from slither._wire.frames import Log

# Most log frames that may wait. If a worker writes lines faster than they can be shown, the
# rest are dropped, and the next line shown says how many.
_MOST_LOGS = 10_000
# Seconds for which a result waits until the lines that its handler printed are shown.
_PATIENCE = 1.0

_Job = Callable[[], None]


class Relay:
    """Runs jobs one after the other, in the order in which they were given."""

    def __init__(self, log: Callable[[Log], None]) -> None:
        """Take what shows a log frame; nothing runs yet."""
        self._log = log
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._dropped = 0
        self._given = 0
        self._done = 0
        self._thread = threading.Thread(target=self._run, name="slither-relay", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call(self, job: _Job) -> None:
        """Have it run ``job``, which must not raise; it never waits."""
        self._jobs.put(job)

    def say(self, got: Log) -> None:
        """Have it show what no worker has sent; no result waits for it."""
        self._jobs.put(lambda: self._log(got))

    def show(self, got: Log) -> None:
        """Have it show a log frame, or count it where too many wait; for the reader alone."""
        if self._given - self._done >= _MOST_LOGS:
            self._dropped += 1 + got.dropped
            return
        if self._dropped:
            got = got._replace(dropped=got.dropped + self._dropped)
            self._dropped = 0
        self._given += 1
        self._jobs.put(lambda: self._show(got))

    def _show(self, got: Log) -> None:
        try:
            self._log(got)
        finally:
            self._done += 1

    def catch_up(self, timeout: float = _PATIENCE) -> None:
        """Wait until what has come so far is shown, but no longer than ``timeout`` seconds.

        In the relay itself it does not wait.
        """
        if self._given != self._done:
            self.drain(timeout)

    def drain(self, timeout: float) -> None:
        """Wait until all that was given so far is done, as :meth:`catch_up` does."""
        if self.is_current():
            return
        shown: SimpleQueue[None] = SimpleQueue()
        self._jobs.put(lambda: shown.put(None))
        try:
            shown.get(timeout=timeout)
        except Empty:
            return

    def is_current(self) -> bool:
        """Tell whether the relay itself asks."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Have the thread end when all is done."""
        self._jobs.put(None)

    def join(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds for the end of the thread, unless it asks itself."""
        if self._thread.is_alive() and not self.is_current():
            self._thread.join(timeout)

    def forget(self) -> None:
        """Do nothing any more: for a forked child, which has no such thread."""
        self._given = self._done

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - the user's code; the thread goes on
                told = (type(error), error, error.__traceback__, self._thread)
                threading.excepthook(threading.ExceptHookArgs(told))
            del job
