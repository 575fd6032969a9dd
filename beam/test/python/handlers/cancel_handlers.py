"""Handlers whose callers go away."""

import os

from slither import SessionEnded, views
from slither.worker import cancelled, progress


def _tell(paths, word):
    for path in paths:
        with open(path, "w") as file:
            file.write(word)
    return paths


def heed(paths):
    """Works until nobody waits for it any more, and leaves word."""
    progress(0)
    while not cancelled():
        pass
    return _tell(paths, "cancelled")


def heed_late(pairs):
    """Looks only once its gate, a named pipe, has been written to."""
    progress(0)
    for gate, _ in pairs:
        with open(gate) as file:
            file.read()
    while not cancelled():
        pass
    return _tell([path for _, path in pairs], "cancelled")


def ask_when_cancelled(paths):
    """Asks a view of the session once nobody waits any more, and tells what came of it."""
    progress(0)
    while not cancelled():
        pass
    try:
        views.cancel_test_view()
    except SessionEnded as error:
        return _tell(paths, str(error))
    return _tell(paths, "answered")


def ignore(values):
    """Never looks."""
    progress(0)
    while True:
        pass


def gated(gates):
    """Say that it runs, then wait for something to be written to each gate, a named pipe."""
    progress(0)
    for gate in gates:
        with open(gate) as file:
            file.read()
    return [os.getpid() for _ in gates]


def leave_file(paths):
    """Show by a file that it ran; the item may be a pair with a load to carry."""
    for path in paths:
        with open(path if isinstance(path, str) else path[0], "w") as file:
            file.write("ran")
    return [os.getpid() for _ in paths]


def either(items):
    """Do as each item says: heed a cancel, or wait at its gate and then perhaps fail."""
    for item in items:
        if "heed" in item:
            heed([item["heed"]])
        else:
            gated([item["gate"]])
        if "fail" in item:
            raise ValueError(item["fail"])
    return items
