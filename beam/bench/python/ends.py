"""Calls that do not end by themselves, and that no signal but SIGKILL ends."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import time

from slither.worker import progress


def _spin():
    while True:
        pass


def _flood():
    while True:
        print("x" * 100)


WAYS = {
    "sleep": lambda: time.sleep(1_000),
    "spin": _spin,
    "C with the GIL": lambda: ctypes.PyDLL(None).sleep(1_000),
    "backtracking": lambda: re.match(r"(a+)+b", "a" * 60),
    "sum(range())": lambda: sum(range(10**12)),
    "stopped": lambda: time.sleep(1_000),
    "print": _flood,
    "subprocess": lambda: subprocess.run(["sleep", "1000"], check=False),
}


def stay(items):
    """Say that it runs; with a path, hold that pipe open, and have a child hold it, too."""
    for way, path in items:
        if path is not None:
            pipe = os.open(path, os.O_WRONLY)
            os.set_inheritable(pipe, True)
            subprocess.Popen(["sleep", "1000"], close_fds=False)
            os.write(pipe, b"held\n")
        progress(1)
        WAYS[way]()
    return items


def warm(items):
    """Return at once."""
    return [sys.version for _ in items]
