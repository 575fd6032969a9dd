"""The state of the worker's one current call."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slither._errors import SlitherError

if TYPE_CHECKING:
    from slither._wire.frames import Call
    from slither._worker.ports import Connection

# What a thread has the id of its call under.
THREADS_CALL = "_slither_call"


@dataclass(frozen=True, slots=True)
class Context:
    """What BEAM said about the call that runs: see :func:`slither.worker.context`.

    ``run``, ``pipe``, ``stage`` and ``session`` are names or None; ``batch`` counts a run's
    batches from 0, ``attempt`` the tries of this batch from 1. ``trace`` is what the run was
    given to be found by in traces, such as a W3C ``traceparent``, or None.
    """

    run: str | None
    pipe: str | None
    stage: str | None
    session: str | None
    batch: int
    attempt: int
    trace: str | None = None


main: str | None = None
"""The script, or the module, whose functions go by the module ``__main__``."""
link: Connection | None = None
call_id = 0
_call: Call | None = None
_main_thread = threading.main_thread().ident


def current_call() -> int:
    """Return the id of the call that the running thread works for, 0 outside calls.

    A thread that outlives its call must not act for the next one. Its call is the one in which
    it was started, or in which an executor's thread was given what it does.
    """
    if threading.get_ident() == _main_thread:
        return call_id
    own: int = getattr(threading.current_thread(), THREADS_CALL, call_id)
    return own


def enter(call: Call) -> None:
    """Make ``call`` the current one."""
    global _call, call_id
    _call, call_id = call, call.id


def leave() -> None:
    """End the current call."""
    global _call, call_id
    _call, call_id = None, 0


def context() -> Context:
    """Return the current call's context."""
    call = current("context()")
    names = call.context.get
    return Context(
        names("run"),
        names("pipe"),
        names("stage"),
        names("session"),
        call.batch,
        call.attempt,
        names("trace"),
    )


def current(what: str) -> Call:
    """Return the current call; ``what`` needs it."""
    call = _call
    if call is None or current_call() != call.id:
        raise SlitherError(f"{what} was called outside a call; only a handler that runs has one")
    return call
