"""One value that is read with marks in it, and what else of reading needs a second look.

Called by the codec: a :class:`Reading` is of one decoding, in one thread.
"""

from __future__ import annotations

from collections.abc import Callable

from msgpack import Timestamp, unpackb

from slither._errors import DecodeError
from slither._types import Payload
from slither._wire.types import table
from slither._wire.types.arrays import ARRAY
from slither._wire.types.groups import MARK, hashable
from slither._wire.types.row import Opaque
from slither._wire.types.tagged import Tagged

_MANY = 32
LONG = 65_536
"""Bytes of a value from which on :func:`is_plain` is worth a try."""
# Bytes that are looked through in the time that a look at one value takes.
_BYTES_A_VALUE = 256
_LEAVES = frozenset({int, float, str, bytes, bool, type(None), bytearray, memoryview})
_KEYS = frozenset({int, str})
# How msgpack's own extension, a timestamp of 4, 8 or 12 bytes, may begin.
_TIMESTAMPS = (
    b"\xd6\xff",
    b"\xd7\xff",
    *(
        head + bytes((size, 0xFF))
        for head in (b"\xc7", b"\xc8\x00", b"\xc9\x00\x00\x00")
        for size in (4, 8, 12)
    ),
)
CLOSED = (
    "a pickled value came, which only a program with by_value=True and the workers that it has "
    "started itself open; send data, or start the pool from such a program"
)


class Marked(Exception):
    """There is a mark in the value."""


class _Mark:
    """What a mark is read as."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[[list[Payload]], Payload]) -> None:
        self.build = build


_MARKS = {byte: _Mark(build) for byte, build in table.BUILDERS.items()}


class Reading:
    """Hooks for msgpack, which make tuples, sets and tagged values of marked arrays."""

    def __init__(self, opaque: Opaque | None) -> None:
        self._opaque = opaque
        self._made = 0
        self._used = 0
        self._scalars = False
        self._opened = False

    def extension(self, code: int, data: bytes) -> Payload:
        """Read an extension; a mark among them."""
        if code == MARK:
            mark = _MARKS.get(data)
            if mark is None:
                raise DecodeError("no mark is like that")
            self._made += 1
            return mark
        decode = table.DECODERS.get(code)
        if decode is not None:
            value = decode(data)
            if code == ARRAY and is_scalar(value):
                self._scalars = True
            return value
        if code != table.PICKLED:
            return table.refuse_code(code, data)
        if self._opaque is None:
            raise DecodeError(CLOSED)
        self._opened = True
        return self._opaque.unwrap(data)

    def array(self, items: list[Payload]) -> Payload:
        """Return a list, or what its mark makes of it."""
        if items:
            mark = items[0]
            if type(mark) is _Mark:
                self._used += 1
                del items[0]
                return mark.build(items)
        return items

    @property
    def is_marked(self) -> bool:
        """Whether there was what takes such a reading."""
        return self._made > 0 or self._scalars or self._opened

    def checked(self, value: Payload) -> Payload:
        """Return the value, unless there is what no value has: a mark on its own, a wrong key."""
        if self._made != self._used:
            raise DecodeError("a mark stands where it is not the first of an array")
        if self._scalars and _has_scalar_key(value):
            raise DecodeError("an array can't be a key")
        return value


def is_scalar(value: Payload) -> bool:
    """Tell whether an array has come as one value, which is no key though it can be hashed."""
    return not getattr(value, "shape", None) and type(value).__name__ not in ("ndarray", "Tensor")


def _has_scalar_key(value: Payload) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict | set | frozenset):
            keys: list[Payload] = list(item)
            for key in keys:
                if isinstance(key, tuple | frozenset):
                    keys += key
            if any(type(key).__module__ == "numpy" for key in keys):
                return True
            stack += item.values() if isinstance(item, dict) else ()
        elif isinstance(item, list | tuple):
            stack += item
        elif isinstance(item, Tagged):
            stack.append(item.value)
    return False


def is_mark(data: bytes | bytearray | memoryview) -> bool:
    """Tell whether bytes begin with a mark, which is no value by itself."""
    kind = data[0] if data else 0
    at = {0xC7: 2, 0xC8: 3, 0xC9: 5}.get(kind, 1 if 0xD4 <= kind <= 0xD8 else 0)
    return bool(at) and data[at : at + 1] == bytes((MARK,))


def pairs(items: list[tuple[Payload, Payload]]) -> dict[Payload, Payload]:
    """Make a dict some of whose keys are lists, which become tuples."""
    return {hashable(key): value for key, value in items}


def has_timestamp(data: bytes | bytearray) -> bool:
    """Tell whether there is an extension of msgpack's own in what could be decoded."""
    if not any(head in data for head in _TIMESTAMPS):
        return False
    # All extensions are left out, and marks are as well: a container is a list of its parts.
    stack = [
        unpackb(
            data,
            strict_map_key=False,
            ext_hook=lambda _code, _data: None,
            object_pairs_hook=lambda items: [part for pair in items for part in pair],
        )
    ]
    while stack:
        item = stack.pop()
        if isinstance(item, Timestamp):
            return True
        if isinstance(item, list):
            stack += [part for part in item if type(part) in (list, Timestamp)]
    return False


def is_plain(value: Payload, size: int) -> bool:
    """Tell whether a value of so many bytes is soon seen to hold no timestamp, no NaN as a key.

    It has few parts, then: pixels, say, in which each byte occurs everywhere.
    """
    left = size // _BYTES_A_VALUE
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is dict:
            left -= len(item)
            if left < 0 or not _KEYS.issuperset(map(type, item)):
                return False
            stack += item.values()
        elif kind is list or kind is tuple:
            left -= len(item)
            if left < 0:
                return False
            stack += item
        elif kind not in _LEAVES and (kind.__module__, kind.__name__) != ("numpy", "ndarray"):
            return False
    return True


def follows(data: bytes | bytearray, last: bytes, firsts: bytes) -> bool:
    """Tell whether ``last`` stands behind one of ``firsts`` somewhere.

    To look for one byte takes a tenth of what two take; but not where it is frequent.
    """
    at = data.find(last)
    for _ in range(_MANY):
        if at < 0:
            return False
        if at and data[at - 1] in firsts:
            return True
        at = data.find(last, at + 1)
    return any(bytes((first,)) + last in data for first in firsts)
