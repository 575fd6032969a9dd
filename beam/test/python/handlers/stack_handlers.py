"""Handlers that hang, each in its own way, once they have said that they run."""

import ctypes
import itertools
import os
import select
import signal
import threading
import time

from slither.worker import progress

# Seconds that each way of waiting takes.
SPAN = 0.3


def outer(items):
    return [inner(item) for item in items]


def inner(item):
    progress(0)
    return WAYS[item]()


def spin():
    while True:
        pass


def sleep():
    time.sleep(3_600)


def hold():
    # C code that gives the interpreter's lock to nobody.
    sum(itertools.repeat(0))


def wait_in_c():
    # The same, in a system call.
    ctypes.PyDLL(None).poll(None, 0, 3_600_000)


def join():
    other = threading.Thread(target=sleep, name="feeder", daemon=True)
    other.start()
    other.join()


def deep(left=300):
    return deep(left - 1) if left else spin()


def block():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    spin()


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


WAYS = {way.__name__: way for way in (spin, sleep, hold, wait_in_c, join, deep, block, stop)}


def patient(items):
    """Wait in each way that there is; what came of it, and whether it took its time."""
    progress(0)
    return [[timed(way) for way in WAITS] for _ in items]


def timed(way):
    began = time.monotonic()
    found = way()
    return [way.__name__, found, time.monotonic() - began >= SPAN * 0.99]


def sleeps():
    time.sleep(SPAN)


def selects():
    return [list(found) for found in select.select([quiet], [], [], SPAN)]


def polls():
    poll = select.poll()
    poll.register(quiet)
    return poll.poll(SPAN * 1_000)


def reads():
    reader, writer = os.pipe()
    threading.Timer(SPAN, os.write, (writer, b"x")).start()
    return os.read(reader, 1).decode()


def waits():
    return threading.Event().wait(SPAN)


def polls_in_c():
    return ctypes.CDLL(None).poll(None, 0, int(SPAN * 1_000))


def sleeps_in_c():
    return ctypes.PyDLL(None).usleep(int(SPAN * 1_000_000))


def counts():
    until, count = time.monotonic() + SPAN, 0
    while time.monotonic() < until:
        count += 1
        [str(number) for number in range(100)]
    return count > 0


WAITS = (sleeps, selects, polls, reads, waits, polls_in_c, sleeps_in_c, counts)
quiet, _writer = os.pipe()


def own_handlers(items):
    """Set a handler for each signal that takes one; which have come when all is over."""
    came = []
    for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
        if items[0] == "all" or number == signal.SIGRTMAX:
            signal.signal(number, lambda number, frame: came.append(number))
    progress(0)
    until = time.monotonic() + SPAN
    while time.monotonic() < until:
        pass
    time.sleep(SPAN)
    return [came]


def crowd(items):
    """Crash beside many threads, each some way down."""
    for number in range(items[0]):
        threading.Thread(target=down, args=(20,), name=f"one-{number}", daemon=True).start()
    time.sleep(SPAN)
    ctypes.string_at(0)


def down(left):
    return down(left - 1) if left else sleep()
