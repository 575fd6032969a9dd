"""Handlers of gathered calls."""

import os
import time

from slither.worker import batch_handler, cancelled, progress


def together(items):
    """Give each item the list of those that came with it."""
    return [items] * len(items)


def one(item):
    """Take one item."""
    return 2 * int(item)


@batch_handler("gathered")
def command(items):
    """Be called by a name."""
    return [3 * item for item in items]


def gated(items):
    """Say that it runs, and wait for the file that the first item names; then as `together`.

    An item is a list of the file's path and a number.
    """
    progress(1)
    while not os.path.exists(items[0][0]):
        if cancelled():
            break
        time.sleep(0.001)
    return [[number for _path, number in items]] * len(items)


def fails_on_seven(items):
    """Fail as a whole where one of the items is 7, give the others back."""
    if 7 in items:
        raise ValueError("seven")
    return items


def dies_on_seven(items):
    """End the worker where one of the items is 7."""
    if 7 in items:
        os._exit(3)
    return items


def yields(items):
    """Give results one by one."""
    for item in items:
        yield 2 * item


def too_few(_items):
    """Give a list that is too short."""
    return []
