"""What the tests of a limit of memory have workers run."""

from __future__ import annotations

import os
import resource
import threading

from slither.worker import session

held: list[bytes] = []


def take(megabytes: int) -> int:
    """Take memory, each byte of it, and keep it until somebody ends the worker."""
    if megabytes == 0:
        return os.getpid()
    held.append(b"\1" * (megabytes * 1_000_000))
    threading.Event().wait()
    return 0


def take_each(megabytes: list[int]) -> list[int]:
    return [take(item) for item in megabytes]


def keep(megabytes: int) -> int:
    session()["kept"] = megabytes
    return take(megabytes)


def limits() -> list[tuple[int, int]]:
    kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_AS)
    return [resource.getrlimit(kind) for kind in kinds]


def megabytes(count: int) -> bytes:
    return bytes(count * 1_000_000)
