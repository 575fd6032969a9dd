"""Values to bytes and back, for whoever wants to speak Slither's protocol outside a worker."""

from __future__ import annotations

from slither._types import Payload
from slither._version import MAX_DEPTH, MAX_FRAME
from slither._version import PROTOCOL_VERSION as VERSION
from slither._wire.codec import decode, encode

__all__ = ["MAX_DEPTH", "MAX_FRAME", "VERSION", "Payload", "pack", "unpack"]


def pack(value: Payload) -> bytes:
    """Encode one value.

    ``value`` is anything of the protocol's table: None, booleans, numbers, str, bytes, lists,
    tuples, sets, dicts, dates and times, UUIDs, paths, NumPy arrays or :class:`slither.Tensor`,
    objects that are sent as data, and those of a type that :func:`slither.register` knows.
    Raises :class:`slither.EncodeError`, whose ``path`` names the
    offending part.

    >>> pack({"a": [1, True]}).hex()
    '81a1619201c3'
    """
    return encode(value)


def unpack(data: bytes | bytearray | memoryview) -> Payload:
    """Decode the bytes of exactly one value.

    Arrays are writable, and share their memory with nothing else. Raises
    :class:`slither.DecodeError` for anything else than one whole value.

    >>> unpack(pack({"a": [1, 2.5, (b"x", None)]}))
    {'a': [1, 2.5, (b'x', None)]}
    """
    return decode(data)
