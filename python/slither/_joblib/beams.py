"""The Beam that joblib's calls share: kept warm between them, and closed when none comes.

Any thread of the program takes one and gives it back; a timer's thread closes it.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from slither._driver.beam import Beam
from slither._joblib import crossing, worker
from slither._worker import current


class Kept:
    """A Beam for joblib, and the key of what its workers open."""

    def __init__(
        self,
        workers: int,
        options: Mapping[str, Any],
        modules: Iterable[str],
        start: bytes | None,
    ) -> None:
        """Start it; ``start`` is the pickled initializer and its arguments."""
        self.key = secrets.token_bytes(32)
        self.modules = frozenset(modules)
        self.owner = os.getpid()
        self.users = 0
        authkey = bytes(multiprocessing.current_process().authkey)
        sealed = None if start is None else crossing.seal(start, self.key)
        arguments = [self.key, authkey, sorted(modules), sealed]
        self.beam = Beam(workers, initializer=worker.start, initargs=arguments, **options)
        self.idle: threading.Timer | None = None

    def close(self) -> None:
        """End it."""
        if self.idle is not None:
            self.idle.cancel()
        if self.serves():
            self.beam.close()

    def serves(self) -> bool:
        """Whether it can be used: it is this process's, and has not ended."""
        return self.owner == os.getpid() and self.beam._link.death is None


_lock = threading.Lock()
_kept: dict[bytes, Kept] = {}


def take(
    workers: int,
    options: Mapping[str, Any],
    initializer: tuple[Any, Any] | None,
    modules: frozenset[str],
    *,
    ready: bool,
) -> Kept:
    """Return a Beam of so many workers: the one that is there where its options are the same.

    The workers of a new one import the modules when they start, or not where that fails. If they
    have to be ``ready``, one whose workers may have to import them in a call does not do.
    """
    sealed = None if initializer is None else crossing.dumps(initializer)[0]
    key = crossing.dumps((dict(options), sealed))[0]
    with _lock:
        # One that is of other options is closed once nobody uses it.
        for other, kept in list(_kept.items()):
            if not kept.serves():
                del _kept[other]
            elif other != key and not kept.users:
                _close(other, kept)
        found = _kept.get(key)
        if found is not None and ready and not modules <= found.modules:
            modules |= found.modules
            if not found.users:
                _close(key, found)
            found = None
        if found is None:
            found = _kept[key] = Kept(workers, options, modules, sealed)
        if found.idle is not None:
            found.idle.cancel()
            found.idle = None
        found.users += 1
    if found.beam.workers != workers:
        found.beam.resize(workers)
    return found


def give_back(kept: Kept, idle: float | None) -> None:
    """Take note that a call needs it no more; it is closed after ``idle`` seconds without one."""
    with _lock:
        kept.users -= 1
        if kept.users == 0 and kept not in _kept.values():
            # Another has taken its place.
            kept.close()
        elif kept.users == 0 and idle is not None and kept.serves():
            kept.idle = threading.Timer(idle, _expired, (kept,))
            kept.idle.daemon = True
            kept.idle.start()


def close() -> None:
    """Close all that no call uses."""
    with _lock:
        for key, kept in list(_kept.items()):
            if not kept.users:
                _close(key, kept)


def _expired(kept: Kept) -> None:
    with _lock:
        if kept.users == 0:
            for key, other in list(_kept.items()):
                if other is kept:
                    _close(key, kept)


def _close(key: bytes, kept: Kept) -> None:
    del _kept[key]
    kept.close()


def in_worker() -> bool:
    """Whether this process is a worker itself."""
    return current.link is not None
