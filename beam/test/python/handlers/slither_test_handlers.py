"""Handlers that the pools' tests call."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

from slither.worker import Failure, batch_handler, context, progress, session


def identity(items):
    return items


@batch_handler("named")
def double(items):
    return [2 * item for item in items]


def pid(items):
    return [os.getpid() for _ in items]


def hold(items):
    """Say that it runs, then wait until the file of each item is there; return the pid."""
    for path in items:
        if path.startswith("/"):
            progress(1)
            while not os.path.exists(path):
                time.sleep(0.002)
    return [os.getpid() for _ in items]


def hold_and_fail_first(items):
    """As `hold`; the first attempt fails then."""
    hold(items)
    if context().attempt == 1:
        raise ValueError("at first")
    return items


def sleep_a_little(items):
    time.sleep(0.006)
    return items


def spin(items):
    progress(1)
    while True:
        pass


def with_child(items):
    """Start a process that would outlive us, tell its pid, and wait for ever."""
    child = subprocess.Popen(["sleep", "1000"])
    progress(child.pid)
    signal.pause()
    return items


def leave(items):
    os._exit(items[0])


def kill_self(items):
    os.kill(os.getpid(), items[0])
    signal.pause()


def crash(items):
    ctypes.string_at(0)
    return items


def once(items):
    """Die at the first call with a path, answer at the second."""
    for path in items:
        if not os.path.exists(path):
            with open(path, "w"):
                os._exit(3)
    return items


def raises_holding(items):
    error = LookupError("gone")
    error.status, error.lock = items[0], threading.Lock()
    error.__notes__ = ["asked twice"]
    raise error from FileNotFoundError(2, "no such file")


def raises(items):
    raise ValueError(f"no luck with {items[0]!r}")


def fails(items):
    return [Failure("odd") if item % 2 else item for item in items]


def unsendable(items):
    return [{"tags": [range(1)]} if item == "bad" else item for item in items]


def fewer(items):
    return items[1:]


def no_list(items):
    return {"items": items}


def count(items):
    state = session()
    state["calls"] = state.get("calls", 0) + 1
    return [[os.getpid(), state["calls"]] for _ in items]


def noisy(items):
    """Write to both outputs in every way there is."""
    os.write(1, b"\x00\x00\x00\x05hello\n\xff\xfe raw bytes\n")
    os.write(2, b"straight to descriptor 2\n")
    print("printed")
    print("printed to stderr", file=sys.stderr)
    sys.stdout.write("no end of line")
    sys.stdout.flush()
    ctypes.CDLL(None).puts(b"put by C")
    subprocess.run(["sh", "-c", "echo from a child; echo child error >&2"], check=True)
    logging.getLogger("mine").error("logged")
    warnings.warn("warned", stacklevel=1)
    return items


def flood(items):
    for _ in range(items[0]):
        print("x" * 100)
        progress(1)
    return items


def size(items):
    return [bytes(item) for item in items]


def environment(items):
    return [os.environ.get(name) for name in items]


def folder(items):
    return [os.getcwd() for _ in items]


def marker(items):
    """The lines of our memory map that BEAM has open."""
    with open("/proc/self/maps") as maps:
        return [[line.strip() for line in maps if ":slither-" in line] for _ in items]


def leave_child(items):
    """Leave a child that holds what we hold: forked by Python, by C, or by a new program."""
    for how, end in items:
        child = _fork(how)
        print("child", child, flush=True)
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "exit":
            os._exit(7)
    return [os.getpid() for _ in items]


def _fork(how):
    if how == "program":
        return subprocess.Popen(["sleep", "100"], close_fds=False, start_new_session=True).pid
    # C code forks without a word to Python.
    fork = ctypes.CDLL(None).fork if "C" in how else os.fork
    child = fork()
    if child == 0:
        if "session" in how:
            os.setsid()
        signal.alarm(100)
        signal.pause()
    return child
