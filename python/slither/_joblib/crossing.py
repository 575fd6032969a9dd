"""How jobs and their results cross: pickled, signed, and in a file where they are large.

Only a program and the workers that it started have the key of a signature, so that nobody else
has a worker open a pickle. The program's threads and a worker's main thread use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import os
import pickle
import sys
import uuid
from functools import cache
from typing import Any

from slither._errors import DecodeError
from slither._joblib.arrays import Arrays, by_file, copied

_SIZE = 32
# What takes more bytes goes through a file: BEAM has no use for it, and a frame has a limit. Only
# the name is signed: who can write into the folder is who runs the program.
SPILL = 1 << 20
_HERE, _FILE = b"\0", b"\1"


def dumps(value: object, arrays: Arrays | None = None) -> tuple[bytes, set[str]]:
    """Pickle a value as a job, whose large arrays are files, or as a result; and name the files.

    Functions and classes that can't be imported go by value.
    """
    used: set[str] = set()
    with io.BytesIO() as file:
        _pickler()(file, arrays, used).dump(value)
        return file.getvalue(), used


def seal(data: bytes, key: bytes, folder: str | None = None) -> bytes:
    """Return what crosses for a pickle; a large one is written into the folder."""
    kind = _HERE
    if folder is not None and len(data) > SPILL:
        path = os.path.join(folder, uuid.uuid4().hex)
        with open(path, "xb") as file:
            file.write(data)
        kind, data = _FILE, os.fsencode(path)
    return _signature(kind, data, key) + kind + data


def opened(sealed: bytes, key: bytes) -> Any:
    """Return the value; DecodeError where somebody else has made it."""
    signature, kind, data = sealed[:_SIZE], sealed[_SIZE : _SIZE + 1], sealed[_SIZE + 1 :]
    if not hmac.compare_digest(signature, _signature(kind, data, key)):
        raise DecodeError("a job of joblib was not made by the program that started this worker")
    if kind == _FILE:
        path = os.fsdecode(data)
        with open(path, "rb") as file:
            found = pickle.load(file)
        with contextlib.suppress(OSError):
            os.unlink(path)
        return found
    return pickle.loads(data)


def _signature(kind: bytes, data: bytes, key: bytes) -> bytes:
    hashed = hashlib.blake2b(kind, key=key, digest_size=_SIZE)
    hashed.update(data)
    return hashed.digest()


@cache
def _pickler() -> Any:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def __init__(self, file: io.BytesIO, arrays: Arrays | None, used: set[str]) -> None:
            super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
            self._arrays, self._used = arrays, used

        def reducer_override(self, obj: Any) -> Any:
            numpy = sys.modules.get("numpy")
            if numpy is not None and type(obj) in (numpy.ndarray, numpy.memmap):
                if self._arrays is not None:
                    found = self._arrays.reduced(obj, self._used)
                    return NotImplemented if found is None else found
                found = by_file(obj)
                return copied(obj).__reduce_ex__(5) if found is None else found
            return super().reducer_override(obj)

    return Pickler
