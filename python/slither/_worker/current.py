"""Which call a thread of a worker works for, and through what it reaches BEAM.

The main thread enters and leaves calls; every thread may ask. A thread works for the call that
started it, and an executor's thread for the call that submitted its job. So a thread that
outlives its call never acts for the next one.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slither._errors import SlitherError
from slither._wire import late
from slither._wire.codec import PLAIN, Codec

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._wire.frames import Call
    from slither._wire.objects import Objects
    from slither._worker.ports import Connection, Serving

_EXECUTORS = "concurrent.futures.thread"
# The attribute of a thread that holds the id of its call.
_OWN = "_slither_call"


@dataclass(frozen=True, slots=True)
class Context:
    """What BEAM said about the call that runs: see :func:`slither.worker.context`.

    ``run``, ``pipe``, ``stage`` and ``session`` are names or None; ``batch`` counts a run's
    batches from 0, ``attempt`` the tries of this batch from 1. ``trace`` is what the run was
    given to be found by in traces, such as a W3C ``traceparent``, or None. ``worker`` is the
    number of the worker that runs it, from 0 on: no other of its pool has it at the same time.
    """

    run: str | None
    pipe: str | None
    stage: str | None
    session: str | None
    batch: int
    attempt: int
    trace: str | None = None
    worker: int = 0


is_template = False
"""Whether this process has imported what it has for others, which it forks."""
main: str | None = None
"""The script, or the module, whose functions go by the module ``__main__``."""
objects: Objects | None = None
"""What opens code and objects by value; None where none may come."""
codec: Codec = PLAIN
"""What handlers' values go by."""
piped: Codec = PLAIN
"""What those go by that a stage of a pipe gives: BEAM may look into them."""
worker = 0
"""The number of this worker in its pool."""
sealed: set[int] = set()
"""The calls that have something in their items which nobody has opened or made yet."""
link: Connection | None = None
"""BEAM, or what stands for it; None outside workers."""
counted: Callable[[int], bytes | None] | None = None
"""What gives a frame of what handlers have counted, by the id of a call, or None where nothing
has changed. It is None itself where they count nothing."""
carry: Callable[[Callable[..., object]], Callable[..., object]] | None = None
"""Has what another thread runs keep the span that is current here; None where there is none."""
serving: Serving | None = None
"""The span of the call that runs, where that is traced."""
takes_spans = False
"""Whether BEAM sends spans on that it is told of."""
noted: Callable[[str, str, bytes], None] | None = None
"""What hears that a module, by its name and path, was made of what its file held; None where no
file is watched."""
running: Call | None = None
"""The call that runs, whichever thread asks: for what a thread does not say of itself."""
_main_thread = threading.main_thread().ident


@contextmanager
def entered(call: Call) -> Iterator[None]:
    """Have a call be the one that runs in a block of a program's: a replay, or a test."""
    global running
    before, running = running, call
    try:
        yield
    finally:
        running = before


def running_id() -> int:
    """Return the id of the call that runs, 0 outside calls."""
    return 0 if running is None else running.id


def call_id() -> int:
    """Return the id of the call that the running thread works for, 0 outside calls."""
    if threading.get_ident() == _main_thread:
        return running_id()
    own: int | None = getattr(threading.current_thread(), _OWN, None)
    return running_id() if own is None else own


def call(what: str) -> Call:
    """Return the call that the running thread works for and that runs; ``what`` needs it."""
    now = running
    if now is None or call_id() != now.id:
        raise SlitherError(f"{what} was called outside a call; only a handler that runs has one")
    return now


def codec_of_results() -> Codec:
    """Return what the results of the call that runs go by."""
    is_of_pipe = running is not None and running.context.get("pipe") is not None
    return piped if is_of_pipe else codec


def opener(asked: Call) -> Callable[[Payload], Payload] | None:
    """Return what opens the items of a call; None where there is nothing to open."""
    return late.made if asked.id in sealed else None


def context(what: str = "context()") -> Context:
    """Return the context of that call."""
    now = call(what)
    names = now.context.get
    return Context(
        names("run"),
        names("pipe"),
        names("stage"),
        names("session"),
        now.batch,
        now.attempt,
        names("trace"),
        worker,
    )


def follow_threads() -> None:
    """Have every thread that is started from now on know its call."""
    start = threading.Thread.start

    @functools.wraps(start)
    def start_for_call(thread: threading.Thread) -> None:
        setattr(thread, _OWN, call_id())
        if carry is not None:
            setattr(thread, "run", carry(thread.run))  # noqa: B010 - as below
        _follow_executors()
        start(thread)

    setattr(threading.Thread, "start", start_for_call)  # noqa: B010 - mypy allows no assignment


# Wraps submit() when a thread starts, which is early enough, as an executor starts its threads
# itself. So a worker that uses no executor never imports them.
def _follow_executors() -> None:
    pool = getattr(sys.modules.get(_EXECUTORS), "ThreadPoolExecutor", None)
    if pool is None or hasattr(pool.submit, "__wrapped__"):
        return
    submit: Callable[..., object] = pool.submit

    @functools.wraps(submit)
    def submit_for_call(
        self: object, fn: Callable[..., object], /, *args: object, **options: object
    ) -> object:
        job = fn if carry is None else carry(fn)
        return submit(self, _act_for, call_id(), job, *args, **options)

    pool.submit = submit_for_call


def _act_for(call: int, fn: Callable[..., object], /, *args: object, **options: object) -> object:
    setattr(threading.current_thread(), _OWN, call)
    return fn(*args, **options)
