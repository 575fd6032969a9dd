"""Values to msgpack bytes and back: one pass in C, and a slow walk only after a failure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgpack
from msgpack import Packer, Timestamp

from slither._errors import DecodeError
from slither._walk import MAX_DEPTH, encode_slowly
from slither._wire import RefusedError, from_wire, is_ambiguous, to_wire

if TYPE_CHECKING:
    from slither._types import Payload

# msgpack stops at this depth by itself, both ways. Wrapping a value in the rest of it
# enforces a lower limit in C.
_MSGPACK_DEPTH = 1_024
_LEAVES = frozenset({int, float, str, bytes, bool, type(None), bytearray, memoryview, datetime})


def encode(value: object, root: str = "value") -> bytes:
    """Encode one value; :class:`EncodeError` names what can't be sent, from ``root`` on."""
    return bytes(encode_view(value, root))


def encode_view(value: object, root: str, depth: int = MAX_DEPTH) -> memoryview:
    """Encode as :func:`encode` does, without the last copy; at most ``depth`` containers."""
    wrapped = value
    spare = _MSGPACK_DEPTH - depth
    for _ in range(spare):
        wrapped = [wrapped]
    packed = _pack(wrapped)
    if packed is None:
        return memoryview(encode_slowly(value, root, depth))
    # A NaN is the one plain key that Python tells apart from itself and BEAM does not.
    if (b"\xcb\x7f" in packed or b"\xcb\xff" in packed) and _repeats_nan(value):
        return memoryview(encode_slowly(value, root, depth))
    return memoryview(packed)[spare:]


def encode_small(value: object) -> bytes | None:
    """Encode in one pass; None for what is large, or takes a closer look."""
    packed = _pack(value)
    # Each container takes a byte: so few bytes hold no value that nests too deep.
    if (
        packed is None
        or len(packed) > MAX_DEPTH
        or b"\xcb\x7f" in packed
        or b"\xcb\xff" in packed
    ):
        return None
    return packed


# A packer costs more to make than most values to pack. One that failed keeps what it had
# packed by then, so it is not used again.
_idle: list[Packer] = []


def _pack(value: object) -> bytes | None:
    try:
        packer = _idle.pop()
    except IndexError:
        packer = Packer(use_bin_type=True, default=_default)
    try:
        packed: bytes = packer.pack(value)
    except (RefusedError, ValueError, TypeError, OverflowError, RuntimeError):
        return None
    _idle.append(packer)
    return packed


def _default(value: object) -> object:
    if isinstance(value, datetime) and value.utcoffset() is not None and is_ambiguous(value):
        # As a key it may repeat another instant unseen: the slow walk compares instants.
        raise RefusedError("ambiguous")
    return to_wire(value)


def _repeats_nan(value: object) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if sum(map(_has_nan, item)) > 1:
                return True
            stack.extend(child for child in item.values() if type(child) not in _LEAVES)
        elif isinstance(item, list | tuple):
            stack.extend([child for child in item if type(child) not in _LEAVES])
    return False


def _has_nan(key: object) -> bool:
    if isinstance(key, tuple):
        return any(map(_has_nan, key))
    return key != key  # noqa: PLR0124 - only a NaN differs from itself


def decode(data: bytes | bytearray | memoryview, depth: int = MAX_DEPTH) -> Payload:
    """Decode exactly one value, or raise :class:`DecodeError`; at most ``depth`` containers."""
    spare = _MSGPACK_DEPTH - depth
    value = _unpack(b"".join((b"\x91" * spare, data)) if spare else data)
    for _ in range(spare):
        value = value[0]
    return value


def _unpack(data: bytes | bytearray | memoryview) -> Payload:
    try:
        value = _unpackb(data)
    except TypeError:
        value = _again_with_tuples(data)
    except DecodeError:
        raise
    except msgpack.ExtraData:
        raise DecodeError("bytes follow the value") from None
    except (msgpack.StackError, RecursionError):
        raise DecodeError("the value nests too many containers") from None
    except msgpack.FormatError:
        raise DecodeError("a byte that starts no value") from None
    except UnicodeDecodeError as error:
        raise DecodeError(f"a str is not UTF-8: {error.reason}") from None
    except (ValueError, msgpack.UnpackException, OverflowError) as error:
        raise DecodeError(str(error) or "not msgpack") from None
    if _may_hold_timestamp(data) and _holds_timestamp(value):
        raise DecodeError("no extension has the type -1")
    return value


def _unpackb(data: bytes | bytearray | memoryview, **options: Payload) -> Payload:
    return msgpack.unpackb(data, strict_map_key=False, ext_hook=from_wire, **options)


def _again_with_tuples(data: bytes | bytearray | memoryview) -> Payload:
    """Decode a value that has lists as keys, which a plain dict refuses."""
    try:
        return _unpackb(data, object_pairs_hook=_pairs)
    except DecodeError:
        raise
    except (TypeError, ValueError, msgpack.UnpackException, OverflowError) as error:
        raise DecodeError(str(error) or "not msgpack") from None


def _pairs(pairs: list[tuple[Payload, Payload]]) -> dict[Payload, Payload]:
    built = {_hashable(key): value for key, value in pairs}
    if len(built) != len(pairs):
        raise DecodeError("a map repeats a key")
    return built


def _hashable(key: Payload) -> Payload:
    if isinstance(key, list):
        return tuple(map(_hashable, key))
    try:
        hash(key)
    except TypeError:
        raise DecodeError(f"a {type(key).__name__} can't be a key") from None
    return key


def _may_hold_timestamp(data: bytes | bytearray | memoryview) -> bool:
    # msgpack reads its own timestamps without asking the hook: look for their three heads.
    raw = bytes(data) if isinstance(data, memoryview) else data
    return b"\xd6\xff" in raw or b"\xd7\xff" in raw or b"\xc7\x0c\xff" in raw


def _holds_timestamp(value: object) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Timestamp):
            return True
        if isinstance(item, dict):
            stack.extend([key for key in item if type(key) not in _LEAVES])
            stack.extend([child for child in item.values() if type(child) not in _LEAVES])
        elif isinstance(item, list | tuple):
            stack.extend([child for child in item if type(child) not in _LEAVES])
    return False
