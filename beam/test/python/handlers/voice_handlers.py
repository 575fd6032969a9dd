"""Handlers that speak up, and some that die."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import warnings

from slither.worker import progress

_libc = ctypes.CDLL(None)


def speak(items):
    """One line by each way."""
    for item in items:
        logging.getLogger("mine").error("logged %s", item)
        logging.getLogger("mine").critical("critical %s", item)
        logging.getLogger("mine").debug("debugged %s", item)
        warnings.warn(f"warned {item}", stacklevel=1)
        print("printed", item)
        _libc.puts(b"put by C")
    return items


def explain(items):
    """Log an exception, with an attribute of the program's."""
    try:
        raise KeyError("k")
    except KeyError:
        logging.getLogger("mine").exception("explained %s", items[0], extra={"order": 17})
    return items


class _Unlucky:
    def __del__(self):
        raise ValueError("nobody sees it")


def fail_unseen(items):
    """Raise where nobody catches it."""

    def run():
        raise ValueError("in a thread")

    thread = threading.Thread(target=run, name="the-thread")
    thread.start()
    thread.join()
    _Unlucky()
    return items


def flood(items):
    """Print as many lines."""
    for count in items:
        os.write(1, b"x\n" * count)
    return items


def report(items):
    """Tell progress of each item."""
    for done, _item in enumerate(items, 1):
        progress(done, len(items))
    return items


def abuse_descriptors(items):
    """Write to what was the port, and close it."""
    for descriptor in (3, 4):
        os.write(descriptor, b"\xff\xff\xff\xffjunk")
    os.closerange(3, 100)
    return items


def crash(items):
    """Die of a bad pointer."""
    if 0 in items:
        ctypes.string_at(0)
    return items


def give_up(items):
    """Die as C code does, with a word on standard error, which nobody has time to read."""
    if "abort" in items:
        print("an earlier line", file=sys.stderr)
        os.write(2, b"x" * 100_000 + b"\n" + b"\xff: double free or corruption\n")
        os.kill(os.getpid(), signal.SIGABRT)
    return items


def warn_and_leave(items):
    """Say why, and go."""
    print("no licence", file=sys.stderr)
    os._exit(3)


def complain(items):
    """Write to standard error and answer."""
    print("complained", file=sys.stderr)
    return items


def fill(items):
    """Write more to standard error than fits, with nobody to read it: the GIL is held."""
    write = ctypes.PyDLL(None).write
    progress(1)
    while True:
        write(2, b"held up\n" * 8_192, 65_536)
