"""A thread that reads for a call whose handler is at work, and can't look by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from slither._errors import ProtocolError

if TYPE_CHECKING:
    from slither._worker.connection import Link

Job = Callable[[], None]


class Watcher:
    """Runs a job whenever something has come for the call: a cancel, credit, or the end.

    A handler on an event loop, or one that yields, learns of these while it is at work. The
    thread is started when it is first needed, and rests between such calls.
    """

    def __init__(self, link: Link) -> None:
        """Take the connection; no thread is started yet."""
        self._link = link
        self._asked = threading.Condition()
        self._job: Job | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, job: Job) -> Iterator[None]:
        """Run ``job`` at once and with all news, in another thread, until the block ends.

        It may still run for a moment after that.
        """
        with self._asked:
            self._job = job
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="slither-watch", daemon=True
                )
                self._thread.start()
            self._asked.notify()
        try:
            yield
        finally:
            self._job = None

    def _run(self) -> None:
        while True:
            with self._asked:
                while self._job is None:
                    self._asked.wait()
                job = self._job
            self._watch(job)

    def _watch(self, job: Job) -> None:
        # BEAM being gone ends it: whoever waits for BEAM sees so by himself.
        with suppress(OSError, ProtocolError):
            while self._job is job:
                # Before the job looks: what comes while it does is news again.
                seen = self._link.news
                job()
                if self._link.ended:
                    break
                self._wait(job, seen)
        if self._job is job:
            self._job = None

    def _wait(self, job: Job, seen: int) -> None:
        # Left as the reader, it hands over with the next frame.
        self._link.wait(lambda: self._link.news != seen or self._job is not job)
