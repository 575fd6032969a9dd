"""What the tests of a Beam's pool have workers run."""

from __future__ import annotations

import os
import time

from slither import store
from slither.worker import context, session


def count(word: str = "") -> list[object]:
    """Add a word to the session's, and return them with the worker's pid."""
    words = session().setdefault("words", [])
    words.append(word)
    return [os.getpid(), list(words)]


def words() -> list[str]:
    return list(session().get("words", []))


async def later(word: str) -> str:
    return word.upper()


def die() -> None:
    os._exit(3)


def row(name: str) -> object:
    return store.table(name)["a"]


def unsendable(_item: int) -> object:
    return object()


def place(*names: str) -> tuple[int, list[int], list[str | None]]:
    """Tell the worker's number, its cpus, and variables."""
    cpus = sorted(os.sched_getaffinity(0))
    return context().worker, cpus, [os.environ.get(name) for name in names]


def hold(path: str) -> int:
    """Wait until a file is there; return the pid."""
    while not os.path.exists(path):
        time.sleep(0.002)
    return os.getpid()


def pid() -> int:
    return os.getpid()
