"""Handlers that only read their arrays: those stand on the bytes that came, without a copy.

A handler says so by its mark (``writable=False``). Whoever reads for all threads asks before it
parses a call; the main thread notes a target when it has found its handler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgpack import OutOfData, Unpacker

from slither._wire import frames

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._wire.codec import Codec
    from slither._wire.frames import Call, Frame

MARK = "__slither_writable__"
"""Is False on a function that only reads."""

_CALL = frames.head(frames.CALL)
# The bytes among which a call's target is, unless it has very long names.
_TARGET_WITHIN = 1_024

# Targets of calls whose handlers only read, and calls of them that were parsed as such.
_targets: set[tuple[str, ...]] = set()
_parsed: set[int] = set()


def parse(body: bytes | bytearray, codec: Codec) -> Frame:
    """Parse a frame, a call of such a handler without the copy that makes arrays writable."""
    if not _targets or (target := target_of(body)) is None or target not in _targets:
        return frames.parse(body, codec)
    from slither._wire.tensor import on_what_came

    with on_what_came():
        got = frames.parse(body, codec)
    if isinstance(got, frames.Call):
        _parsed.add(got.id)
    return got


def target_of(body: bytes | bytearray) -> tuple[str, ...] | None:
    """Read the target of a call without its items; None for other frames and odd ones.

    >>> target_of(_CALL + bytes([1, 0x92, 0xA4]) + b"item" + bytes([0xA1]) + b"f")
    ('item', 'f')
    """
    if body[:2] != _CALL:
        return None
    unpacker = Unpacker()
    unpacker.feed(memoryview(body)[:_TARGET_WITHIN])
    try:
        unpacker.read_array_header()
        unpacker.skip()
        unpacker.skip()
        target = tuple(unpacker.unpack())
    except (OutOfData, ValueError, TypeError):
        return None
    return target if all(type(part) is str for part in target) else None


def settle(call: Call, handler: Callable[..., Payload]) -> None:
    """Have the arrays of a call be what its handler says of them."""
    if not says(handler):
        return
    _targets.add(tuple(call.target))
    # Unless nobody knew the handler when the call was parsed.
    if call.id not in _parsed:
        close(call.items)


def forget(call: int) -> None:
    """Drop what is known about a call."""
    _parsed.discard(call)


def says(handler: Callable[..., Payload]) -> bool:
    """Tell whether a function only reads."""
    return getattr(handler, MARK, True) is False


def close(items: Payload) -> None:
    """Have nobody write into the arrays among some values."""
    numpy: Any = sys.modules.get("numpy")
    stack = [items] if numpy is not None else []
    while stack:
        item = stack.pop()
        if isinstance(item, numpy.ndarray):
            item.flags.writeable = False
        elif isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list | tuple):
            stack += item
