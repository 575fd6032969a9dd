"""Handlers for the tests of what pools and stages tell of themselves."""

import os
import time

from slither.worker import context, progress


def named_apart(items):
    """No other test calls it: what is counted of it is a test's own."""
    return items


def hold_attempts(paths):
    """Wait for a file with the number of the attempt; the first fails then."""
    attempt = context().attempt
    progress(attempt)
    while not os.path.exists(f"{paths[0]}.{attempt}"):
        time.sleep(0.002)
    if attempt == 1:
        raise ValueError("at first")
    return paths
