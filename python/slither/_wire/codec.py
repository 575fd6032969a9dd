"""Values to msgpack bytes and back: one pass in C, and a slow walk only after a failure.

Pure functions, but for packers that are kept for the next value; any thread calls them.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

import msgpack
from msgpack import Packer, Timestamp, unpackb

from slither._errors import DecodeError
from slither._types import Payload
from slither._version import MAX_DEPTH
from slither._wire.extensions import RefusedError, from_wire, is_ambiguous, to_wire
from slither._wire.walk import encode_slowly, with_leaves

# msgpack itself stops at this depth, both when it packs and when it unpacks. To enforce a lower
# limit in C, a value is wrapped in as many lists as make up the difference.
_MSGPACK_DEPTH = 1_024
_SHORT = 4_096
_MANY = 32
_LEAVES = frozenset({int, float, str, bytes, bool, type(None), bytearray, memoryview, datetime})


def encode(value: object, root: str = "value") -> bytes:
    """Encode one value; :class:`EncodeError` names what can't be sent, from ``root`` on."""
    return bytes(encode_view(value, root))


def encode_head(value: object) -> bytes:
    """Encode a few fields of a frame that are known to be sendable."""
    packed = encode_once(value, MAX_DEPTH, small=True)
    return bytes(packed) if packed is not None else encode(value)


def encode_view(value: object, root: str, depth: int = MAX_DEPTH) -> memoryview:
    """Encode as :func:`encode` does, without the last copy; at most ``depth`` containers."""
    packed = encode_once(value, depth)
    if packed is None:
        return memoryview(encode_slowly(value, root, depth))
    return memoryview(packed)


def encode_once(value: object, depth: int, small: bool = False) -> bytes | memoryview | None:
    """Encode in one pass, without the last copy; None for what needs the walk that says why.

    ``depth`` is less than what msgpack allows. ``small`` is a guess that saves time where it is
    right.
    """
    spare = _MSGPACK_DEPTH - depth
    idle = _idle[spare]
    packing = idle.pop() if idle else _packing(spare)
    pack, place, whole = packing
    try:
        if small:
            packed = pack(value)
            # Each container takes at least one byte, so a value with no more bytes than levels
            # can't nest too deep.
            small = len(packed) <= depth
        if not small:
            place[0] = value
            packed = pack(whole)
            place[0] = None
    except (RefusedError, ValueError, TypeError, OverflowError, RuntimeError):
        # A packer that has failed still holds the bytes it had packed, so it is not used again.
        return None
    idle.append(packing)
    # Python takes two NaNs for two keys, and BEAM for
    # one. Other plain keys don't differ like that.
    nan = _follows(packed, b"\x7f", b"\xcb") or _follows(packed, b"\xff", b"\xcb")
    if nan and _any_part(value, _repeats_nan):
        return None
    if small:
        return packed
    return packed[spare:] if len(packed) < _SHORT else memoryview(packed)[spare:]


# A packer, the list that the value goes into, and the outermost of the lists around that list,
# which use up the depth that a value may not have. Packings are kept, as making one costs more
# than packing most values.
_Packing: TypeAlias = tuple[Callable[[object], bytes], list[object], list[object]]
_idle: defaultdict[int, list[_Packing]] = defaultdict(list)


def _packing(spare: int) -> _Packing:
    place: list[object] = [None]
    whole = place
    for _ in range(spare - 1):
        whole = [whole]
    return Packer(use_bin_type=True, default=_default).pack, place, whole


def _default(value: object) -> object:
    if isinstance(value, datetime) and value.utcoffset() is not None and is_ambiguous(value):
        # Two such datetimes may be the same instant and yet not be equal, so they could be two
        # keys of a dict. Only the slow walk compares instants.
        raise RefusedError("ambiguous")
    return to_wire(value)


def _any_part(value: object, test: Callable[[object], bool]) -> bool:
    """Tell whether a value or one of its parts, but for plain leaves, passes a test."""
    stack = [value]
    while stack:
        item = stack.pop()
        if test(item):
            return True
        if isinstance(item, dict):
            stack.extend([key for key in item if type(key) not in _LEAVES])
            stack.extend([child for child in item.values() if type(child) not in _LEAVES])
        elif isinstance(item, list | tuple):
            stack.extend([child for child in item if type(child) not in _LEAVES])
    return False


def _repeats_nan(item: object) -> bool:
    return isinstance(item, dict) and sum(map(_has_nan, item)) > 1


def _has_nan(key: object) -> bool:
    stack = [key]
    while stack:
        part = stack.pop()
        if isinstance(part, tuple):
            stack.extend(part)
        elif part != part:  # noqa: PLR0124 - only a NaN differs from itself
            return True
    return False


def decode(data: bytes | bytearray | memoryview, depth: int = MAX_DEPTH) -> Payload:
    """Decode exactly one value, or raise :class:`DecodeError`; at most ``depth`` containers.

    ``depth`` is not less than what :class:`_Fast` takes.
    """
    value = _fast.read(data)
    if value is not _NOT_READ:
        return value
    spare = _MSGPACK_DEPTH - depth
    value = _decode_plainly(b"".join((b"\x91" * spare, data)))
    for _ in range(spare):
        value = value[0]
    return value


def decode_frame(data: bytes | bytearray) -> Payload:
    """Decode as :func:`decode` does, of the depth that a frame may have."""
    value = _fast.read(data)
    return _decode_plainly(data) if value is _NOT_READ else value


_NOT_READ: Payload = object()


class _Fast:
    """The decoder of msgspec, where it is installed: dictionaries take it half the time.

    It recurses, and how deep it may is another number in each version of Python, and for each
    stack and setting. So it gets a type that ends after a few levels. What is deeper, and all
    that the type has no place for (bytes, extensions, keys that are no str), is left to msgpack,
    which says what is wrong, too: what is taken does not depend on msgspec.
    """

    levels = 8
    # Bytes that msgpack decodes before msgspec is imported, which does not pay in a process
    # that decodes little.
    after = 262_144
    # Once msgspec has refused a value, msgpack decodes so many times its size: more values like
    # it may follow.
    pause = 8
    decode: Callable[[bytes | bytearray | memoryview], Payload] | None = None

    def read(self, data: bytes | bytearray | memoryview) -> Payload:
        """Decode ``data``, or return ``_NOT_READ``."""
        if self.after > 0:
            self.after -= len(data)
            if self.after <= 0 and self.decode is None:
                self.load()
        elif self.decode is not None:
            try:
                return self.decode(data)
            except Exception:  # noqa: BLE001 - msgpack says what is wrong, if anything is
                self.after = len(data) * self.pause
        return _NOT_READ

    def load(self) -> None:
        """Take it from now on, if it is there."""
        self.after = 0
        with contextlib.suppress(ImportError):
            from msgspec.msgpack import Decoder

            self.decode = Decoder(_nested(self.levels)).decode


def _nested(levels: int) -> Payload:
    """Return the type of plain values of so many levels of containers."""
    kind: Payload = None | bool | int | float | str
    for _ in range(levels):
        # msgspec caches the keys of a dict only where all are str.
        kind = None | bool | int | float | str | list[kind] | dict[str, kind]
    return kind


_fast = _Fast()


def _decode_plainly(data: bytes | bytearray) -> Payload:
    try:
        value = unpackb(data, strict_map_key=False, ext_hook=from_wire)
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
    # msgpack reads its own timestamps, which have the type -1, without asking the hook.
    if _follows(data, b"\xff", b"\xd6\xd7\x0c") and _any_part(
        value, lambda item: isinstance(item, Timestamp)
    ):
        raise DecodeError("no extension has the type -1")
    return value


def _again_with_tuples(data: bytes | bytearray) -> Payload:
    """Decode a value that has lists as keys, which a plain dict refuses."""
    try:
        return unpackb(data, strict_map_key=False, ext_hook=from_wire, object_pairs_hook=_pairs)
    except DecodeError:
        raise
    except RecursionError:
        raise DecodeError("a key nests too many containers") from None
    except (TypeError, ValueError, msgpack.UnpackException, OverflowError) as error:
        raise DecodeError(str(error) or "not msgpack") from None


def _pairs(pairs: list[tuple[Payload, Payload]]) -> dict[Payload, Payload]:
    return {_hashable(key): value for key, value in pairs}


def _hashable(key: Payload) -> Payload:
    return with_leaves(key, list, _hashable_leaf)


def _hashable_leaf(leaf: Payload) -> Payload:
    try:
        hash(leaf)
    except TypeError:
        raise DecodeError(f"a {type(leaf).__name__} can't be a key") from None
    return leaf


def _follows(data: bytes | bytearray, last: bytes, firsts: bytes) -> bool:
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
