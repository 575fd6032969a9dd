"""Handlers whose callers go away."""

from slither.worker import cancelled, progress


def heed(paths):
    """Works until nobody waits for it any more, and leaves word."""
    progress(0)
    while not cancelled():
        pass
    for path in paths:
        with open(path, "w") as file:
            file.write("cancelled")
    return paths


def ignore(values):
    """Never looks."""
    progress(0)
    while True:
        pass
