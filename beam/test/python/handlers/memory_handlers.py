"""Handlers that take memory, for the tests of pools that limit it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

from slither.worker import progress, session

MB = 1_000_000
held: list[bytes] = []


def take(megabytes: int) -> int:
    """Take memory, each byte of it, and keep it until somebody ends the worker."""
    if megabytes == 0:
        return os.getpid()
    held.append(b"\1" * (megabytes * MB))
    return wait_for_ever()


def wait_for_ever() -> int:
    threading.Event().wait()
    return 0


def take_each(megabytes: list[int]) -> list[int]:
    return [take(item) for item in megabytes]


def take_on_seven(items: list[int]) -> list[int]:
    if 7 in items:
        take(300)
    return items


def take_in_child(megabytes: int) -> int:
    """Have another process take it, whose number stands in a file by then."""
    code = f"held = b'1' * ({megabytes} * 1000000); import threading; threading.Event().wait()"
    subprocess.run([sys.executable, "-c", code], check=False)
    return 0


def take_later(megabytes: int) -> int:
    """Answer, and take it afterwards."""

    def run(megabytes: int) -> None:
        # The answer goes out first.
        time.sleep(0.01)
        held.append(b"\1" * (megabytes * MB))

    threading.Thread(target=run, args=(megabytes,), daemon=True).start()
    return os.getpid()


def draw(megabytes: int) -> object:
    yield "first"
    take(megabytes)


def keep(megabytes: int) -> int:
    session()["kept"] = True
    return take(megabytes)


def fork_with(asked: list[object]) -> int:
    """Hold so many MB, in so many processes that share them, until a file is closed."""
    megabytes, count, gate = asked
    held.append(b"\1" * (int(megabytes) * MB))
    children = []
    for _ in range(int(count)):
        child = os.fork()
        if child == 0:
            threading.Event().wait()
        children.append(child)
    progress(1)
    with open(str(gate)) as file:
        file.read()
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)
    held.clear()
    return len(children)
