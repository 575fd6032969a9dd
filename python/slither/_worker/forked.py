"""A child that a handler forks: it ends where the handler's code ends, with a status of its own.

All that surrounds a handler belongs to the worker: its connection, its marker, the call
itself. A forked child must not run on there, so it ends when the handler returns or raises, as
a program ends after its last line. The main thread calls :func:`end` each time it has run the
user's code. A worker that a template forks is no such child: :func:`hatch` tells them apart.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress

hatching = False
"""Whether what is forked now is a worker, which goes on where its template is."""
_forked = False
_followed = False
_leaves: list[Callable[[], object]] = []


def follow() -> None:
    """Have every child that this process forks from now on known to :func:`end`."""
    global _followed
    if _followed:
        return
    _followed = True
    os.register_at_fork(after_in_child=_mark)
    # Python warns of each fork, because of the thread that reads what handlers print. The
    # warning does not apply: a child needs none of the locks that this thread may hold.
    warnings.filterwarnings(
        "ignore",
        r".* is multi-threaded, use of \w+\(\) may lead to deadlocks",
        DeprecationWarning,
    )


def end(error: BaseException | None = None) -> None:
    """End this process if it is a forked child; ``error`` is what its handler has raised."""
    if _forked:
        _end(error)


def on_child(leave: Callable[[], object]) -> None:
    """Have a forked child of a handler's leave to this process what is this process's."""
    _leaves.append(leave)


def hatch() -> int:
    """Fork a worker: its pid, and 0 in the worker, where nothing of this process is left."""
    global hatching
    hatching = True
    try:
        pid = os.fork()
    finally:
        hatching = False
    if pid == 0:
        _leaves.clear()
    return pid


def _mark() -> None:
    global _forked
    if hatching:
        return
    _forked = True
    for leave in _leaves:
        leave()


def _end(error: BaseException | None) -> None:
    status = 1
    try:
        status = _status(error)
        me = threading.current_thread()
        for thread in threading.enumerate():
            if thread is not me and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            # The child may have closed or replaced the stream.
            with suppress(Exception):
                stream.flush()
        os._exit(status)


def _status(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1
