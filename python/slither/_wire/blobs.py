"""Values in shared memory: what stands for one on the way, and what makes it one again.

A file in the folder of one BEAM holds the payload of an extension, or bytes as they are; on the
way goes its name. Any thread encodes and decodes; what is read is left unmade (:mod:`.late`), so
that one that is gone fails its own item.
"""

from __future__ import annotations

import os
import re
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakValueDictionary

from msgpack import ExtType

from slither._errors import DecodeError, UnknownBlob
from slither._wire import late

CODE, BYTES = 17, 0
SHARED, OWN = 0, 1
"""How a value is taken: to be read by all, or to be one's own."""
OVER = 1 << 20
"""Bytes from which on a value goes by shared memory where it may."""
Pieces = Sequence[Any]
"""Buffers, one behind the other."""
_HEAD = struct.Struct(">BBQ")
_KINDS = (BYTES, 3, 12, 13)
# No name leads out of the folder of its BEAM.
_NAME = re.compile(rb"[a-z0-9]{1,32}(/[a-z0-9]{1,32}){1,2}\Z")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC

decoders: dict[int, Callable[[Any], Any]] = {}
"""What makes values of payloads, by the codes of extensions; the table of types fills it."""
_folders: dict[str, str] = {}
_seen: WeakValueDictionary[str, Any] = WeakValueDictionary()
_lock = threading.Lock()


def know(path: str) -> str:
    """Take the folder of a BEAM, and return what names in it begin with."""
    identity = path.rpartition("-")[2]
    _folders[identity] = path
    return identity


def path_of(name: str) -> str:
    """Return the path of a file by its name, or raise :class:`slither.UnknownBlob`."""
    identity, _, rest = name.partition("/")
    folder = _folders.get(identity)
    if folder is None:
        raise UnknownBlob(f"the blob {name} is of another BEAM")
    return os.path.join(folder, rest)


class Reference(late.Late):
    """A value in shared memory that is not made yet."""

    __slots__ = ("kind", "name", "size", "use")

    def __init__(self, kind: int, use: int, size: int, name: str) -> None:
        """Take what the file holds, how it is taken, its bytes and its name."""
        self.kind, self.use, self.size, self.name = kind, use, size, name

    def _made(self, _parts: list[Any]) -> Any:
        return value_of(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.packed() == other.packed()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<a value in shared memory, {self.size} bytes>"

    def packed(self) -> bytes:
        """Return the payload of the extension."""
        return _HEAD.pack(self.kind, self.use, self.size) + self.name.encode()


def decode(data: bytes | bytearray) -> Reference:
    """Read the payload of the extension; the value is made later."""
    if len(data) < _HEAD.size:
        raise DecodeError("a blob's reference is cut short")
    kind, use, size = _HEAD.unpack_from(data)
    name = bytes(data[_HEAD.size :])
    if kind not in _KINDS or use not in (SHARED, OWN) or _NAME.match(name) is None:
        raise DecodeError("a malformed reference of a blob")
    late.use()
    late.meet()
    if use == OWN:
        _thread.met += size
    return Reference(kind, use, size, name.decode())


def value_of(reference: Reference) -> Any:
    """Return the value of a reference, or raise :class:`slither.UnknownBlob`."""
    if reference.use == OWN:
        return _made(reference, _mapped(reference))
    # The file is asked for each time: what is gone is gone, though somebody has it yet.
    path = path_of(reference.name)
    with _lock:
        value = _seen.get(reference.name)
    if value is not None and os.path.exists(path):
        return value
    value = _made(reference, _mapped(reference))
    with _lock, suppress(TypeError):
        _seen[reference.name] = value
    return value


def _mapped(reference: Reference) -> Any:
    path, size = path_of(reference.name), reference.size
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        raise UnknownBlob(
            f"the blob {reference.name} is not there: it was deleted, or what owned it has ended"
        ) from None
    try:
        if os.fstat(descriptor).st_size != size:
            raise DecodeError(f"the blob {reference.name} has not the {size} bytes that it had")
        if size == 0:
            return b""
        if reference.use == OWN and reference.kind == BYTES:
            return _read(descriptor, size)
        import mmap

        # One's own is copied as it is written to, page by page, and the file never changes.
        access = mmap.ACCESS_COPY if reference.use == OWN else mmap.ACCESS_READ
        return mmap.mmap(descriptor, size, access=access)
    finally:
        os.close(descriptor)
        if reference.use == OWN and _thread.takes:
            with suppress(OSError):
                os.unlink(path)


def _read(descriptor: int, size: int) -> bytes:
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        data = file.read(size)
    if data is None or len(data) != size:
        raise DecodeError("a blob was cut while it was read")
    return data


def _made(reference: Reference, data: Any) -> Any:
    if reference.kind == BYTES:
        return data if reference.use == OWN else memoryview(data)
    from slither._wire import tensor

    with tensor.on_what_came():
        return decoders[reference.kind](data)


def write(path: str, pieces: Pieces) -> int:
    """Write a new file, for this user alone; return its bytes. Nothing is left where it fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    size = 0
    try:
        for piece in pieces:
            left = memoryview(piece)
            while left.nbytes:
                count = os.write(descriptor, left)
                left, size = left[count:], size + count
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(descriptor)
    return size


def opened(data: bytes) -> Any:
    """Return the value of a reference's payload: what a pickled handle becomes."""
    return value_of(decode(data))


class Place:
    """Where large values that are encoded go: a folder that somebody takes away."""

    def __init__(self, path: str, prefix: str, over: int = OVER) -> None:
        """Take the folder's path, what names in it begin with, and what counts as large."""
        self.path, self._prefix, self.over = path, prefix, over
        self.written: list[tuple[str, int]] = []
        """The paths of what was written since somebody last took them, and their bytes."""
        self.held: list[object] = []
        """What is to live until what was encoded has come."""

    def reference(self, kind: int, pieces: Pieces) -> Reference | None:
        """Put the payload of an extension, or bytes; None where there is no room."""
        try:
            return self.put(kind, pieces)
        except OSError:
            return None

    def put(self, kind: int, pieces: Pieces) -> Reference:
        """Put the payload of an extension, or bytes; raises OSError where there is no room."""
        name = os.urandom(10).hex()
        path = os.path.join(self.path, name)
        size = write(path, pieces)
        self.written.append((path, size))
        return Reference(kind, OWN, size, f"{self._prefix}/{name}")

    def taken(self) -> tuple[list[tuple[str, int]], list[object]]:
        """Return what was written, and is to live, since this was last called."""
        taken, self.written, self.held = (self.written, self.held), [], []
        return taken


class _Thread(threading.local):
    place: Place | None = None
    takes = False
    met = 0


_thread = _Thread()


def use(place: Place | None) -> Place | None:
    """Have this thread put large values into a place from now on; return the one before."""
    before, _thread.place = _thread.place, place
    return before


@contextmanager
def sharing(place: Place | None) -> Iterator[None]:
    """Have this thread put large values into a place while it encodes."""
    before = use(place)
    try:
        yield
    finally:
        use(before)


@contextmanager
def taking() -> Iterator[None]:
    """Have this thread take away what it reads of its own: nobody else will read that."""
    _thread.takes = True
    try:
        yield
    finally:
        _thread.takes = False


def met() -> int:
    """Return the bytes that this thread has met of values of its own, since the last time."""
    size, _thread.met = _thread.met, 0
    return size


def hold(value: object) -> None:
    """Have what is encoded now keep something until it has come."""
    if _thread.place is not None:
        _thread.place.held.append(value)


def place_for(size: int) -> Place | None:
    """Return where a value of so many bytes is to go; None where it goes as it is."""
    place = _thread.place
    return place if place is not None and size >= place.over else None


def shared(kind: int, pieces: Pieces) -> ExtType | None:
    """Return what stands for a payload that was put where this thread puts large values."""
    place = place_for(sum(memoryview(piece).nbytes for piece in pieces))
    reference = None if place is None else place.reference(kind, pieces)
    return None if reference is None else ExtType(CODE, reference.packed())


def lift(values: Sequence[Any]) -> Sequence[Any]:
    """Return values, with what stands for large bytes among them where the first is bytes."""
    if _thread.place is None or not values or type(values[0]) not in (bytes, bytearray):
        return values
    return [lifted(value) for value in values]


def lifted(value: Any) -> Any:
    """Return what stands for large bytes, which a packer would take by itself."""
    if type(value) in (bytes, bytearray) and (place := place_for(len(value))) is not None:
        return place.reference(BYTES, (value,)) or value
    return value
