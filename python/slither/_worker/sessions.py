"""State of sessions and of runs, how it ends, and how it goes to another worker.

Handlers get it from :func:`slither.worker.session`. The main thread ends it when BEAM asks for
that, when a call of neither a session nor a run ends, and when the worker stops.
"""

from __future__ import annotations

import logging

from slither._types import Payload
from slither._worker import current, cursors, forked, registry

State = dict[str, Payload]

_sessions: dict[str, State] = {}
_runs: dict[str | None, State] = {}
# The runs that BEAM knows to have state here.
_told: set[str] = set()


def of_call(session: str | None, run: str | None, call: int) -> State:
    """Return the state of a session, else of a run, else of the call alone."""
    if session is not None:
        return _sessions.setdefault(session, {})
    state = _runs.get(run)
    if state is None:
        state = _runs[run] = {}
        if run is not None:
            hold(run, call)
    return state


def hold(run: str, call: int) -> None:
    """Have BEAM know, from a call on, that this worker has state of a run, or values of it.

    BEAM tells the workers of which it knows that when the run ends.
    """
    if run not in _told and current.link is not None:
        _told.add(run)
        current.link.hold(call, run)


def leave() -> None:
    """End what belongs to a call of neither a session nor a run."""
    if None in _runs:
        _let_go(_runs.pop(None))


def end_all() -> None:
    """Let go of all state: the worker stops."""
    cursors.close_all()
    while _sessions:
        _let_go(_sessions.popitem()[1])
    while _runs:
        _let_go(_runs.popitem()[1])


def is_movable() -> bool:
    """Tell whether the current call's session has nothing here, or state that can be dumped."""
    if cursors.any_of(current.context().session):
        return False
    pair = registry.session_pair
    return _here() is None or ("dump" in pair and "load" in pair)


def end(_items: list[Payload]) -> list[Payload]:
    """Drop the state of the call's session, or run, and tell whether there was one."""
    context = current.context()
    cursors.close_of(context.run, context.session)
    if context.session is not None:
        state = _sessions.pop(context.session, None)
    else:
        state = _runs.pop(context.run, None)
        _told.discard(context.run or "")
    if state is not None:
        _let_go(state)
    return [state is not None]


def dump(_items: list[Payload]) -> list[Payload]:
    """Return what :func:`load` takes elsewhere, None where the call's session has no state."""
    state = _here()
    if state is None:
        return [None]
    # Sent along, as the other worker may not have imported the module that registers the pair.
    module = getattr(registry.session_pair["load"], "__module__", None)
    return [{"module": module, "value": registry.session_pair["dump"](state)}]


def load(items: list[Payload]) -> list[Payload]:
    """Take over the state of the call's session."""
    state = registry.session_pair["load"](items[0]["value"])
    if not isinstance(state, dict):
        name = type(state).__name__
        raise TypeError(f"the session_load function returned {name}, not a dict")
    session = current.context().session
    if session is not None:
        _sessions[session] = state
    return [None]


def _here() -> State | None:
    return _sessions.get(current.context().session or "")


def _let_go(state: State) -> None:
    for hook in reversed(list(registry.session_stop_hooks.values())):
        try:
            hook(state)
            forked.end()
        except BaseException as error:
            forked.end(error)
            logging.getLogger("slither").exception("a session's stop hook failed")
