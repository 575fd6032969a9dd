"""Pickles: for a program with ``by_value`` and the workers that it started, and nobody else.

What can be named goes by its name, as the standard library does it. What only this process has,
such as a lambda, or a class of a notebook, is taken apart by cloudpickle. Pure but for imports;
whichever thread has the value calls it.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from functools import partial

from slither._script import MAIN, is_found, is_whole

PROTOCOL = 5
_NAMED, _APART, _PROXIED = b"\0", b"\1", b"\2"
# The proxies of a manager ask it with a key that their process has.
_PROXY, _KEY = b"RebuildProxy", 32
Shelf = Callable[[type], "tuple[str, str] | None"]
_VERSION = bytes(sys.version_info[:2])


class WrongVersion(Exception):
    """Code of another version of Python, which this one can't run."""


class Pickles:
    """How one process pickles: ``script`` is what the program's main module was run from.

    It is None where other processes can't run that, as in a REPL and in a notebook. ``load``, in
    a worker, runs it.

    >>> pickles = Pickles(None)
    >>> pickles.loads(pickles.dumps(lambda: 42))()
    42
    """

    def __init__(self, script: str | None, load: Callable[[str], object] | None = None) -> None:
        """Take what the process knows of the main module."""
        self.script, self._load = script, load
        self.shelf: Shelf | None = None
        """Names a class that the other side has, or can fetch."""

    def dumps(self, value: object) -> bytes:
        """Return a value as bytes; raises what the value or a pickler raises."""
        try:
            data = pickle.dumps(value, PROTOCOL)
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, cloudpickle may do it, or says why not
            return self._apart(value, self.shelf)
        # A name in the main module may be one that only this process has.
        if _registered() or (MAIN.encode() in data and not is_whole(self.script)):
            return self._apart(value, self.shelf)
        return _with_key(_NAMED + data)

    def apart(self, value: object) -> bytes:
        """Return one with all that is needed to make it, as cloudpickle does it."""
        return self._apart(value, None)

    def _apart(self, value: object, shelf: Shelf | None) -> bytes:
        from slither import _cloud

        found = partial(is_found, script=self.script)
        return _with_key(_APART + _VERSION + _cloud.dumps(value, PROTOCOL, found, shelf))

    def loads(self, data: bytes | memoryview) -> object:
        """Return the value; raises :class:`WrongVersion`, and what the value raises."""
        view = memoryview(data)
        if view[:1] == _PROXIED:
            import multiprocessing

            multiprocessing.current_process().authkey = bytes(view[1 : 1 + _KEY])
            view = view[1 + _KEY :]
        if view[:1] == _APART:
            if view[1:3] != _VERSION:
                theirs, ours = (".".join(map(str, part)) for part in (view[1:3], _VERSION))
                raise WrongVersion(
                    f"its code is of Python {theirs}, and this is Python {ours}; workers of "
                    "Beam(python=…) get functions by value from a program of the same version"
                )
            view = view[3:]
        else:
            view = view[1:]
        if self._load is None or self.script is None:
            return pickle.loads(view)
        return _Unpickler(io.BytesIO(view), self).load()

    def load_script(self) -> None:
        """Have ``__main__`` be the script, in a worker."""
        if self._load is not None and self.script is not None:
            self._load(self.script)


class _Unpickler(pickle.Unpickler):
    """Runs the script of the program when a name of it is wanted."""

    def __init__(self, file: io.BytesIO, pickles: Pickles) -> None:
        super().__init__(file)
        self._pickles = pickles

    def find_class(self, module_name: str, global_name: str) -> object:
        if module_name == MAIN:
            self._pickles.load_script()
        return super().find_class(module_name, global_name)


def _with_key(data: bytes) -> bytes:
    """Return a pickle with what proxies of a manager need where it is opened, if it has any."""
    if _PROXY not in data:
        return data
    import multiprocessing

    key = bytes(multiprocessing.current_process().authkey)
    # One of another length is a program's own, which its workers set for themselves.
    return _PROXIED + key + data if len(key) == _KEY else data


def _registered() -> bool:
    cloud = sys.modules.get("cloudpickle")
    registry = getattr(cloud, "list_registry_pickle_by_value", None)
    return registry is not None and bool(registry())
