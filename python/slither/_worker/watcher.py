"""The thread ``slither-watch``, which reads for a call while its handler is at work and can't.

So a handler on an event loop, or one that yields, hears of a cancel, of credit and of BEAM's
end while it works. The main thread, which runs the call, says for how long. The thread starts
when it is first needed, and rests between such calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from slither._errors import ProtocolError

if TYPE_CHECKING:
    from slither._worker.ports import Line

Job = Callable[[], None]

_asked = threading.Condition()
_watched: tuple[Line, Job] | None = None
_thread: threading.Thread | None = None


@contextmanager
def watching(line: Line | None, job: Job) -> Iterator[None]:
    """Run ``job`` at once and with all news, in the watcher's thread, until the block ends.

    It may still run for a moment after that. Without a line there are no news.
    """
    global _watched, _thread
    if line is None:
        yield
        return
    with _asked:
        _watched = line, job
        if _thread is None:
            _thread = threading.Thread(target=_run, name="slither-watch", daemon=True)
            _thread.start()
        _asked.notify()
    try:
        yield
    finally:
        _watched = None


def _run() -> None:
    while True:
        with _asked:
            while (watched := _watched) is None:
                _asked.wait()
        _watch(watched)


def _watch(watched: tuple[Line, Job]) -> None:
    global _watched
    line, job = watched
    # When BEAM is gone the watch just ends: threads
    # that wait for BEAM notice that by themselves.
    with suppress(OSError, ProtocolError):
        while _watched is watched:
            # Noted before the job runs, so that frames
            # which come meanwhile still count as news.
            seen = line.news
            job()
            if line.ended:
                break
            _wait(watched, seen)
    if _watched is watched:
        _watched = None


def _wait(watched: tuple[Line, Job], seen: int) -> None:
    line, _ = watched
    # If the call ends while this thread reads, the
    # thread gives the turn back after the next frame.
    line.wait(lambda: line.news != seen or _watched is not watched)
