"""Handlers for the tests of dispatches and pipes."""

import os
import signal
import time

from slither.worker import Failure, batch_handler, context, item_handler, session


def double(numbers):
    return [2 * number for number in numbers]


def identity(values):
    return values


def fail_on_seven(numbers):
    if 7 in numbers:
        raise ValueError("seven is not welcome")
    return numbers


def fail_items(numbers):
    return [Failure("odd") if number % 2 else number for number in numbers]


def unsendable_items(numbers):
    return [range(number) if number % 3 == 0 else number for number in numbers]


def too_few(values):
    return values[:-1]


def not_a_list(values):
    return 42


def die_on_seven(numbers):
    if 7 in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return numbers


def hang_on_seven(numbers):
    while 7 in numbers:
        pass
    return numbers


def slow_first(numbers):
    """Batches that hold small numbers take longest, so that they complete out of order."""
    time.sleep(0.02 if min(numbers) < 10 else 0)
    return numbers


def flaky(numbers):
    """Fails until the third attempt."""
    if context().attempt < 3:
        raise RuntimeError("not yet")
    return numbers


def pids(values):
    return [os.getpid() for _ in values]


def count_session(values):
    state = session()
    results = []
    for _ in values:
        state["n"] = state.get("n", 0) + 1
        results.append([os.getpid(), state["n"]])
    return results


def where(values):
    here = context()
    return [{"pipe": here.pipe, "stage": here.stage, "batch": here.batch} for _ in values]


@batch_handler
def shout(texts):
    return [text.upper() for text in texts]


@batch_handler("add-one")
def add_one(numbers):
    return [number + 1 for number in numbers]


@item_handler
def square(number):
    return number * number


_DEADLY = {"exit": 13, "loop": 777}


def poisoned(numbers):
    """Raises for multiples of 40, and has one item that kills and one that hangs."""
    if _DEADLY["exit"] in numbers:
        os._exit(7)
    while _DEADLY["loop"] in numbers:
        pass
    if any(number % 40 == 0 for number in numbers):
        raise ValueError("poison")
    return numbers


def dies_at_first(values):
    if context().attempt == 1:
        os._exit(9)
    return values


def hangs_at_first(values):
    while context().attempt == 1:
        pass
    return values


def grow(items):
    return [bytes(1_000_000) for _ in items]
