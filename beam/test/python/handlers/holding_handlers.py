"""Handlers that hold a pipe open, with a child, and keep their worker busy."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import re
import subprocess
import time

from slither.worker import progress

_open: list[int] = []


def hold(items):
    """Hold the pipe at a path, and stay so in one of many ways; "with child", it does, too."""
    for path, how in items:
        pipe = os.open(path, os.O_WRONLY)
        os.set_inheritable(pipe, True)
        _open.append(pipe)
        way, *more = how.split(", ")
        if more == ["with child"]:
            subprocess.Popen(["sleep", "1000"], close_fds=False)
        os.write(pipe, how.encode() + b"\n")
        progress(1)
        WAYS[way]()
    return items


def idle():
    """Return: what was opened and started stays."""


def sleep():
    time.sleep(1_000)


def spin():
    while True:
        pass


def c_with_gil():
    # A PyDLL does not let go of the GIL.
    ctypes.PyDLL(None).sleep(1_000)


def backtracking():
    re.match(r"(a+)+b", "a" * 60)


def c_without_gil():
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000_000)


def subprocess_run():
    subprocess.run(["sh", "-c", "sleep 1000; true"], close_fds=False, check=False)


def forked():
    _process("fork")


def spawned():
    _process("spawn")


def _process(method):
    child = multiprocessing.get_context(method).Process(target=time.sleep, args=(1_000,))
    child.start()
    child.join()


WAYS = {
    "idle": idle,
    "sleep": sleep,
    "spin": spin,
    "c with gil": c_with_gil,
    "c without gil": c_without_gil,
    "backtracking": backtracking,
    "subprocess": subprocess_run,
    "fork": forked,
    "spawn": spawned,
}
