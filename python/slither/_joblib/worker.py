"""What a worker runs for joblib: a job of the program that started it, and its start before.

The worker's main thread calls both.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import traceback

from slither._by_value import apart
from slither._errors import DecodeError
from slither._joblib import crossing, nested

_key: bytes | None = None


def start(key: bytes, authkey: bytes, modules: list[str], sealed: bytes | None) -> None:
    """Take the program's key, load what its jobs need, and call its own initializer.

    ``authkey`` lets jobs use what a manager of :mod:`multiprocessing` shares. A module that can't
    be imported fails the jobs that need it.
    """
    global _key
    _key = key
    multiprocessing.current_process().authkey = authkey
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    # So that a call of Parallel in a job may name the backend; threads run it then.
    nested.register()
    if sealed is not None:
        initializer, arguments = crossing.opened(sealed, key)
        initializer(*arguments)


def run(sealed: bytes, folder: str | None) -> bytes:
    """Call a job, and return its result, or what it raised, sealed.

    ``folder`` is where a large result goes.
    """
    if _key is None:
        raise DecodeError("this worker runs no jobs of joblib: no program started it for them")
    job = crossing.opened(sealed, _key)
    try:
        outcome: object = (True, job(), None)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised in the program
        trace = traceback.format_exc()
        error.__traceback__ = None
        outcome = (False, apart(error), trace)
    data, _used = crossing.dumps(outcome)
    return crossing.seal(data, _key, folder)
