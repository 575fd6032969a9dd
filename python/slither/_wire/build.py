"""Builds frames as bytes, some of them by hand rather than as one value.

Pure functions, called by whoever sends: a worker, a program, and tests. They return a frame as
one piece or more, so that a long value needs no copy. The heads of frames come from the records
of :mod:`slither._wire.frames`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slither._errors import EncodeError
from slither._types import Payload
from slither._version import MAX_DEPTH, MAX_FRAME
from slither._wire import frames
from slither._wire.codec import PLAIN, Codec, encode, encode_head, encode_view
from slither._wire.faults import clean, lean

Pieces = tuple[bytes | memoryview, ...]
NIL = b"\xc0"

# Operations on tables that take many keys or rows, in one list.
_BULK = frozenset({"get_many", "put"})
_VIEW_CALL, _TABLE_CALL = frames.head(frames.VIEW_CALL), frames.head(frames.TABLE_CALL)
_RESULT, _PART, _FEED = map(frames.head, (frames.RESULT, frames.PART, frames.FEED))
_FIXINT = 0x80


def frame(kind: int, *fields: Payload) -> bytes:
    """Encode a frame whose fields are known to be sendable."""
    return bytes(encode_view([kind, *fields], "frame", MAX_DEPTH + 8))


def error(identity: int, fault: dict[str, Payload], max_frame: int = MAX_FRAME) -> bytes:
    """Encode an error frame; facts that can't be sent, or have no room, are left out."""
    try:
        body = frame(frames.ERROR, identity, fault)
        if len(body) > max_frame:
            body = frame(frames.ERROR, identity, lean(fault))
        return body
    except EncodeError:
        plain = {key: fault[key] for key in ("kind", "message")}
        return frame(frames.ERROR, identity, plain)


def view_call(
    identity: int,
    call: int,
    name: str,
    mode: int,
    params: Payload,
    *,
    timeout: int | None,
    codec: Codec = PLAIN,
) -> Pieces:
    """Build a question to a view, or raise :class:`EncodeError` with the path in ``params``."""
    fields = [frames.VIEW_CALL, identity, call, name, mode, params, timeout]
    body = codec.encode_once(fields, MAX_DEPTH + mode + 1, small=mode == 0)
    if body is not None:
        return (body,)
    view = codec.encode_view(params, "params", MAX_DEPTH + mode)
    return _joined(_VIEW_CALL, identity, call, clean(name), mode), view, encode(timeout)


def table_call(
    identity: int,
    call: int,
    table: str,
    op: str,
    arguments: tuple[Payload, ...],
    *,
    codec: Codec = PLAIN,
) -> Pieces:
    """Build an operation on a table, or raise as :func:`view_call` does."""
    # A tuple would be sent as one.
    given = list(arguments)
    fields = [frames.TABLE_CALL, identity, call, table, op, given]
    body = codec.encode_once(fields, MAX_DEPTH + 4, small=op not in _BULK)
    if body is not None:
        return (body,)
    view = codec.encode_view(given, op, MAX_DEPTH + 3)
    return _joined(_TABLE_CALL, identity, call, clean(table), op), view


def result_of(identity: int, results: Sequence[Payload], codec: Codec = PLAIN) -> Pieces | None:
    """Build a result frame up to its errors, in one pass; None where a result can't be sent."""
    # Two levels more than an item may have, for the frame and its list.
    fields = [frames.RESULT, identity, list(results)]
    body = codec.encode_once(fields, MAX_DEPTH + 2, small=len(results) == 1)
    # The caller appends errors and timing, so the head is that of a whole result frame.
    return None if body is None else (_RESULT[:1], memoryview(body)[1:])


def result_head(identity: int, count: int) -> bytes:
    """Build a result frame up to its ``count`` encoded results."""
    return b"".join((_RESULT, encode(identity), array_head(count)))


def part_head(identity: int, index: int, count: int) -> bytes:
    """Build a part frame up to its ``count`` encoded results, the first with number ``index``."""
    return b"".join((_PART, encode(identity), encode(index), array_head(count)))


def feed_head(identity: int, first: int, count: int, size: int) -> bytes:
    """Build a feed frame up to its ``count`` encoded items, of ``size`` bytes together."""
    numbers = _uint(identity), _uint(first), _uint(count)
    return b"".join((_FEED, *numbers, b"\xc6", size.to_bytes(4, "big")))


def timing(decode_us: int, handler_us: int, encode_us: int) -> bytes:
    """Encode the last field of a result frame."""
    if decode_us < _FIXINT and handler_us < _FIXINT and encode_us < _FIXINT:
        # Most times are so short that msgpack encodes each as a single byte.
        return bytes((0x93, decode_us, handler_us, encode_us))
    return encode_head([decode_us, handler_us, encode_us])


def errors(encoded: Mapping[int, bytes]) -> bytes:
    """Join encoded errors to the field of a frame."""
    if not encoded:
        return NIL
    parts = [_map_head(len(encoded))]
    for index, fault in encoded.items():
        parts += (encode(index), fault)
    return b"".join(parts)


def array_head(count: int) -> bytes:
    """Encode the head of an array."""
    if count < 16:
        return bytes([0x90 | count])
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def _map_head(count: int) -> bytes:
    if count < 16:
        return bytes([0x80 | count])
    if count < 1 << 16:
        return b"\xde" + count.to_bytes(2, "big")
    return b"\xdf" + count.to_bytes(4, "big")


def _joined(head: bytes, *fields: Payload) -> bytes:
    return head + b"".join(map(encode, fields))


def _uint(value: int) -> bytes:
    if value < _FIXINT:
        return value.to_bytes(1, "big")
    if value < 0x10000:
        return b"\xcd" + value.to_bytes(2, "big") if value > 0xFF else bytes((0xCC, value))
    return encode_head(value)
