"""Threads know which call they work for: see :func:`slither._worker.current.current_call`."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable

from slither._worker import current

_EXECUTORS = "concurrent.futures.thread"


def follow() -> None:
    """Have every thread that is started from now on know its call."""
    start = threading.Thread.start

    @functools.wraps(start)
    def start_for_call(thread: threading.Thread) -> None:
        setattr(thread, current.THREADS_CALL, current.current_call())
        _follow_executors()
        start(thread)

    setattr(threading.Thread, "start", start_for_call)  # noqa: B010 - mypy allows no assignment


# Looked for whenever a thread is started, theirs or another: a worker that uses no executor does
# not import them.
def _follow_executors() -> None:
    pool = getattr(sys.modules.get(_EXECUTORS), "ThreadPoolExecutor", None)
    if pool is None or hasattr(pool.submit, "__wrapped__"):
        return
    submit: Callable[..., object] = pool.submit

    @functools.wraps(submit)
    def submit_for_call(
        self: object, fn: Callable[..., object], /, *args: object, **options: object
    ) -> object:
        return submit(self, _act_for, current.current_call(), fn, *args, **options)

    pool.submit = submit_for_call


def _act_for(call: int, fn: Callable[..., object], /, *args: object, **options: object) -> object:
    setattr(threading.current_thread(), current.THREADS_CALL, call)
    return fn(*args, **options)
