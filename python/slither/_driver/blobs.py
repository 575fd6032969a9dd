"""The large values that a program has put into shared memory for its workers.

Any thread puts one; it goes with what holds it, in whatever thread that ends.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from msgpack import ExtType

from slither._driver.connection import Connection
from slither._errors import BeamError, UnknownBlob
from slither._types import Payload
from slither._wire import blobs
from slither._wire.types import table
from slither._wire.types.row import RefusedError, named

if TYPE_CHECKING:
    from typing_extensions import Self

_HOLDS = "a blob holds bytes, an array or a table of data"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)


class Blob:
    """A large value in shared memory, which :meth:`slither.Beam.blob` has put there.

    It stands for the value wherever values go to workers. The end of a ``with`` block,
    :meth:`close`, or the end of the last reference to it takes it away.
    """

    def __init__(self, reference: blobs.Reference, path: str) -> None:
        """Take what goes to workers, and the file."""
        self._reference = reference
        self._remove = weakref.finalize(self, _remove, path, os.getpid())

    @property
    def name(self) -> str:
        """What it is called on the way."""
        return self._reference.name

    @property
    def nbytes(self) -> int:
        """The bytes that it takes."""
        return self._reference.size

    @property
    def closed(self) -> bool:
        """Whether it was taken away."""
        return not self._remove.alive

    def value(self) -> Payload:
        """Return the value, as workers have it: one that can only be read."""
        self._check()
        return blobs.value_of(self._reference)

    def close(self) -> None:
        """Take it away; a second call does nothing."""
        self._remove()

    def packed(self) -> bytes:
        """Return what goes to workers."""
        if self.closed:
            raise RefusedError("a slither.Blob that is closed cannot be sent")
        blobs.hold(self)
        return self._reference.packed()

    def _check(self) -> None:
        if self.closed:
            raise UnknownBlob("the slither.Blob is closed")

    def __enter__(self) -> Self:
        """Return the blob itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take it away."""
        self.close()

    def __reduce__(self) -> tuple[Callable[[bytes], Payload], tuple[bytes]]:
        """Pickle it as what becomes the value where it is unpickled, in a worker of its Beam."""
        self._check()
        return blobs.opened, (self._reference.packed(),)

    def __repr__(self) -> str:
        """Say how large it is."""
        return f"<slither.Blob {'closed' if self.closed else f'{self.nbytes} bytes'}>"


class _Whole(blobs.Place):
    """Takes a value of any size, and says why where it can't."""

    def reference(self, kind: int, pieces: blobs.Pieces) -> blobs.Reference:
        try:
            return self.put(kind, pieces)
        except OSError as error:
            size = sum(memoryview(piece).nbytes for piece in pieces)
            hint = "; give /dev/shm more room (docker run --shm-size=2g)"
            why = f"a blob of {size} bytes can't be written: {error.strerror}"
            full = hint if error.errno in _FULL else ""
            raise OSError(error.errno, why + full, self.path) from None


def put(link: Connection, value: Payload) -> Blob:
    """Put a value where the workers of a connection find it."""
    link.check()
    folder = link.blobs()
    if folder is None:
        raise BeamError("this BEAM has no folder in shared memory: see beam.logs()")
    place = _Whole(folder, blobs.know(folder), over=0)
    with blobs.sharing(place):
        if isinstance(value, bytes | bytearray | memoryview):
            found = place.reference(blobs.BYTES, (memoryview(value).cast("B"),))
        else:
            found = _reference(value)
    found.use = blobs.SHARED
    ((path, _size),), _held = place.taken()
    return Blob(found, path)


def _reference(value: Payload) -> blobs.Reference:
    try:
        made = table.find(type(value)).encode(value)
    except RefusedError as refused:
        raise TypeError(f"{_HOLDS}: {refused}") from None
    if isinstance(made, ExtType) and made.code == blobs.CODE and not isinstance(value, Blob):
        return blobs.decode(made.data)
    raise TypeError(f"{_HOLDS}, not {named(value)}")


def _remove(path: str, owner: int) -> None:
    # A process that was forked from this one has the handle, too.
    if os.getpid() == owner:
        with suppress(OSError):
            os.unlink(path)
