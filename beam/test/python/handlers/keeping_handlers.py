"""Handlers that keep state, and say when it goes."""

import os

from slither._worker import sessions
from slither.worker import context, on_session_stop, progress, session


def count(values):
    """The process and how many items the session has seen, for each item."""
    state = session()
    results = []
    for _ in values:
        state["n"] = state.get("n", 0) + 1
        results.append([os.getpid(), state["n"]])
    return results


def count_and_fail(values):
    count(values)
    raise ValueError("after asking for state")


def count_and_wait(paths):
    """Count, say that it runs, and wait for something to be written to each path, a pipe."""
    results = count(paths)
    progress(0)
    for path in paths:
        with open(path) as file:
            file.read()
    return results


def wait_and_count(paths):
    """The same, but asks for state at the end."""
    progress(0)
    for path in paths:
        with open(path) as file:
            file.read()
    return count(paths)


def count_or_die(values):
    """End the process at the first attempt of the values that are negative."""
    if values[0] < 0 and context().attempt == 1:
        os._exit(3)
    return count(values)


def count_at_last(values):
    """Every other value fails until its third attempt."""
    if values[0] % 2 and context().attempt < 3:
        raise RuntimeError("not yet")
    return count(values)


def count_alone(values):
    """No batch of more than one goes through."""
    if len(values) > 1:
        raise RuntimeError("too many")
    return count(values)


def no_state(values):
    return values


def held(values):
    """The sessions and runs of which this process has state."""
    runs = [run for run in sessions._runs if run is not None]
    return [[sorted(sessions._sessions), sorted(runs)] for _ in values]


def hang_at_the_end(values):
    session()["hangs"] = True
    return count(values)


@on_session_stop
def say(state):
    while state.get("hangs"):
        pass
    print(f"ended at {state['n']}")
