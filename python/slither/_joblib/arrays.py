"""Large arrays in files that workers map, so that a call of ``joblib.Parallel`` sends none twice.

The program writes them in the threads that submit jobs; workers map them as they read a job.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import uuid
import weakref
from collections.abc import Iterable
from typing import Any

from slither._joblib.folder import Folder

Reduced = tuple[Any, ...]

# Of arrays up to the limit of a call, smaller ones are always sent, and others the first time.
_SMALL = 64 << 10

# The files that this worker maps for a job. What a result has of them is sent, as they will go.
_borrowed: set[str] = set()


class _File:
    """One array's file."""

    def __init__(self, path: str, array: weakref.ref[Any]) -> None:
        self.path, self.array = path, array
        self.uses = 0
        """Jobs that are out and map it."""


class Arrays:
    """The arrays of one call of Parallel, by identity: each is written once.

    A file goes when its array and the jobs that map it are gone, and with the folder at last.
    """

    def __init__(self, folder: Folder, limit: int | None, mode: str | None) -> None:
        """Write arrays of more than ``limit`` bytes, for workers to map in a mode of NumPy's."""
        self._folder, self._limit = folder, limit
        self._mode = "r+" if mode == "w+" else mode
        # A weak reference may be called back in the thread that holds the lock.
        self._lock = threading.RLock()
        self._files: dict[str, _File] = {}
        # Another array may have the id of one that is gone, whose file is still in use.
        self._of: dict[int, _File] = {}
        self._seen: dict[int, weakref.ref[Any]] = {}

    def reduced(self, array: Any, used: set[str]) -> Reduced | None:
        """Return how an array is pickled, None for as usual; add the file to those ``used``."""
        if (mapped := by_file(array)) is not None:
            return mapped
        limit = self._limit
        if limit is None or self._mode is None or array.dtype.hasobject:
            return None
        plain = array.nbytes <= limit
        if plain and array.nbytes < _SMALL:
            return None
        with self._lock:
            file = self._of.get(id(array))
            known = file is not None and file.array() is array
            if plain and not known:
                # Most are sent once. The file is written when the same one comes again.
                seen = self._seen.get(id(array))
                if seen is None or seen() is not array:
                    self._note(array)
                    return None
            if file is None or not known:
                file = self._write(array)
            elif plain and not _same(array, file.path):
                return None
            if file.path not in used:
                used.add(file.path)
                file.uses += 1
        order = "C" if array.flags.c_contiguous or not array.flags.f_contiguous else "F"
        arguments = (file.path, array.dtype, self._mode, array.shape, order)
        return (_own, arguments) if plain else (_map, arguments)

    def _note(self, array: Any) -> None:
        key = id(array)
        self._seen[key] = weakref.ref(array, lambda _ref: self._seen.pop(key, None))

    def release(self, used: Iterable[str]) -> None:
        """Take note that a job which used these files has ended."""
        with self._lock:
            for path in used:
                file = self._files.get(path)
                if file is not None:
                    file.uses -= 1
                    self._drop(file)

    def _write(self, array: Any) -> _File:
        path = os.path.join(self._folder.path(), uuid.uuid4().hex)
        with open(path, "xb", opener=_private) as opened:
            opened.write(_bytes(array).data)
        file = _File(path, weakref.ref(array, lambda _ref: self._died(path)))
        self._files[path] = self._of[id(array)] = file
        return file

    def _died(self, path: str) -> None:
        with self._lock:
            file = self._files.get(path)
            if file is not None:
                self._drop(file)

    def _drop(self, file: _File) -> None:
        if file.uses > 0 or file.array() is not None:
            return
        if self._files.pop(file.path, None) is None:
            return
        for key, one in list(self._of.items()):
            if one is file:
                self._of.pop(key, None)
        with contextlib.suppress(OSError):
            os.unlink(file.path)


def _bytes(array: Any) -> Any:
    numpy = sys.modules["numpy"]
    flat = array.T if array.flags.f_contiguous else numpy.ascontiguousarray(array)
    return flat.reshape(-1).view(numpy.uint8)


def _same(array: Any, path: str) -> bool:
    """Whether an array holds what it did when its file was written."""
    numpy = sys.modules["numpy"]
    return bool((_bytes(array) == numpy.memmap(path, numpy.uint8, "r")).all())


def by_file(array: Any) -> Reduced | None:
    """Return how an array is pickled that a file of the user's holds already, None for others."""
    numpy = sys.modules["numpy"]
    base, found = array, None
    while isinstance(base, numpy.ndarray):
        if isinstance(base, numpy.memmap) and getattr(base, "filename", None) is not None:
            found = base
        base = base.base
    # One of mode "c" may differ from its file.
    if found is None or found.mode == "c" or array.dtype.hasobject or array.size == 0:
        return None
    path = str(found.filename)
    if path in _borrowed:
        return None
    low, high = _bounds(array)
    offset = found.offset + low - _bounds(found)[0]
    mode = "r+" if found.mode == "w+" else found.mode
    if array.flags.c_contiguous:
        return _map, (path, array.dtype, mode, array.shape, "C", offset)
    if array.flags.f_contiguous:
        return _map, (path, array.dtype, mode, array.shape, "F", offset)
    start = array.__array_interface__["data"][0] - low
    return _map_strided, (
        *(path, array.dtype, mode, array.shape),
        *(offset, high - low, start, array.strides),
    )


def copied(array: Any) -> Any:
    """Return an array for a result: itself, or what it is without the file that a job mapped."""
    numpy = sys.modules["numpy"]
    return numpy.asarray(array) if isinstance(array, numpy.memmap) else array


def _bounds(array: Any) -> tuple[int, int]:
    found: tuple[int, int]
    try:
        from numpy.lib.array_utils import byte_bounds
    except ImportError:
        # NumPy 1 has it at its top.
        byte_bounds = sys.modules["numpy"].byte_bounds
    found = byte_bounds(array)
    return found


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _map(  # noqa: PLR0917 - as it is pickled
    path: str,
    dtype: Any,
    mode: Any,
    shape: tuple[int, ...],
    order: Any,
    offset: int | None = None,
) -> Any:
    import numpy

    if offset is None:
        _borrowed.add(path)
    return numpy.memmap(path, dtype, mode, offset or 0, shape, order)


def _own(path: str, dtype: Any, _mode: Any, shape: tuple[int, ...], order: Any) -> Any:
    """Return an array that a job may write into, as if it had been sent."""
    import numpy

    return numpy.asarray(_map(path, dtype, "c", shape, order))


def _map_strided(  # noqa: PLR0917 - as it is pickled
    path: str,
    dtype: Any,
    mode: Any,
    shape: tuple[int, ...],
    offset: int,
    size: int,
    start: int,
    strides: tuple[int, ...],
) -> Any:
    import numpy

    whole = numpy.memmap(path, numpy.uint8, mode, offset, (size,))
    return numpy.ndarray(shape, dtype, whole, start, strides)
