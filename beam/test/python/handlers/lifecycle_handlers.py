"""Handlers for the tests of how workers come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from slither.worker import on_stop, progress

_kept: list[bytearray] = []
_calls = 0


@on_stop
def leave_a_note() -> None:
    folder = os.environ.get("NOTES")
    if folder:
        with open(os.path.join(folder, str(os.getpid())), "w") as file:
            file.write("stopped")


@on_stop
def hang() -> None:
    while os.environ.get("HANG_AT_STOP"):
        time.sleep(1)


def pid(items):
    return [os.getpid() for _ in items]


def grow(items):
    """Keep so many bytes for ever, and touch them."""
    _kept.extend(bytearray(b"x") * size for size in items)
    return [os.getpid() for _ in items]


def load(items):
    """Keep as many bytes as the item says at the first call only, as a lazy model does."""
    if not _kept:
        _kept.append(bytearray(b"x") * items[0])
    return [os.getpid() for _ in items]


def numbered(items):
    """Number the calls of this worker."""
    global _calls
    _calls += 1
    return [[item, _calls] for item in items]


def timed(items):
    """Tell the process, and from when to when it was at work."""
    began = time.monotonic()
    time.sleep(0.01)
    return [[os.getpid(), began, time.monotonic()] for _ in items]


def unhurried(items):
    """Number the calls as numbered does, and give others the time to ask for their turn."""
    time.sleep(0.002)
    return numbered(items)


def hold(items):
    """Say that it runs, then wait until the file of each item is there; return the pid."""
    progress(1)
    for path in items:
        while not os.path.exists(path):
            time.sleep(0.002)
    return [os.getpid() for _ in items]


def close_channel(items):
    """Close what the worker speaks through; go on, if asked."""
    os.closerange(3, 65_536)
    while items == ["go on"]:
        time.sleep(1)
    return items


def children(items):
    """What a child's end looks like, and what it inherits."""
    status = subprocess.run(["sh", "-c", "exit 7"], check=False).returncode
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as yes:
        yes.stdout.readline()
        yes.stdout.close()
        piped = yes.wait()
    return [[status, piped, os.waitstatus_to_exitcode(os.system("exit 5"))] for _ in items]


def interrupted(items):
    os.kill(os.getpid(), signal.SIGINT)
    return items


def broken_pipe(items):
    """Write to a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    try:
        os.write(write, b"x")
    except BrokenPipeError:
        return ["BrokenPipeError" for _ in items]
    return items
