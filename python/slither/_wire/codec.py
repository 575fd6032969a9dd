"""Values to msgpack bytes and back: one pass in C, and a slow walk only after a failure.

Any thread calls a codec: it keeps packers for the next value, and else only what saves time.
Which types there are is in :mod:`slither._wire.types.table`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import msgpack
from msgpack import ExtType, Packer, Timestamp, unpackb

from slither._errors import DecodeError
from slither._types import Payload
from slither._version import MAX_DEPTH
from slither._wire import late
from slither._wire.fast import NOT_READ, Fast
from slither._wire.reading import (
    LONG,
    Marked,
    Reading,
    follows,
    has_timestamp,
    is_mark,
    is_plain,
    is_scalar,
    pairs,
)
from slither._wire.types import keys, table
from slither._wire.types.arrays import ARRAY
from slither._wire.types.groups import MARK
from slither._wire.types.row import Opaque, RefusedError

# msgpack itself stops at this depth, both when it packs and when it unpacks. To enforce a lower
# limit in C, a value is wrapped in as many lists as make up the difference.
_MSGPACK_DEPTH = 1_024
_SHORT = 4_096
_LEAVES = frozenset({int, float, str, bytes, bool, type(None), bytearray, memoryview})
# Made once: a union of types is an object, too.
_KEYED, _LISTED = (dict, set, frozenset), (list, tuple)
_ROWS = table.ROWS


class Codec:
    """Encodes and decodes, with ``opaque`` also what the table has no row for."""

    def __init__(self, opaque: Opaque | None = None) -> None:
        self.opaque = opaque
        # Packings are kept, as making one costs more than packing most values.
        self._idle: defaultdict[int, list[_Packing]] = defaultdict(list)
        # Whether the last value that msgpack decoded had marks: the next one may have some, too.
        self._marked = False

    def encode(self, value: object, root: str = "value") -> bytes:
        """Encode one value; :class:`EncodeError` names what can't be sent, from ``root`` on."""
        return bytes(self.encode_view(value, root))

    def encode_head(self, value: object) -> bytes:
        """Encode a few fields of a frame that are known to be sendable."""
        packed = self.encode_once(value, MAX_DEPTH, small=True)
        return bytes(packed) if packed is not None else self.encode(value)

    def encode_view(self, value: object, root: str, depth: int = MAX_DEPTH) -> memoryview:
        """Encode as :meth:`encode` does, without the last copy; at most ``depth`` containers."""
        packed = self.encode_once(value, depth)
        if packed is None:
            from slither._wire.walk import encode_slowly

            return memoryview(encode_slowly(value, root, depth, self._convert))
        return memoryview(packed)

    def encode_once(
        self, value: object, depth: int, small: bool = False
    ) -> bytes | memoryview | None:
        """Encode in one pass, without the last copy; None for what needs the walk that says why.

        ``depth`` is less than what msgpack allows. ``small`` is a guess that saves time where it
        is right.
        """
        spare = _MSGPACK_DEPTH - depth
        idle = self._idle[spare]
        packing = idle.pop() if idle else _Packing(self, spare)
        try:
            if small:
                packed = packing.pack(value)
                # Each container takes at least one byte, so a value with no more bytes than
                # levels can't nest too deep.
                small = len(packed) <= depth
            if not small:
                packing.place[0] = value
                packed = packing.pack(packing.whole)
                packing.place[0] = None
        except (RefusedError, ValueError, TypeError, OverflowError, RuntimeError):
            # A packer that has failed may hold the bytes it had packed: it is not used again.
            return None
        doubt, packing.doubt = packing.doubt, False
        idle.append(packing)
        # Python takes two NaNs for two keys, and BEAM for one. Other plain keys don't differ like
        # that. And msgpack packs timestamps of its own.
        if (doubt or _may_be_wrong(packed, value)) and self._is_wrong(value):
            return None
        if small:
            return packed
        return packed[spare:] if len(packed) < _SHORT else memoryview(packed)[spare:]

    def _convert(self, value: object) -> object:
        """Return what a packer takes for a value that it does not take by itself."""
        kind = type(value)
        row = _ROWS.get(kind) or table.find(kind)
        if self.opaque is None:
            return row.encode(value)
        if row.lossy or row is table.REFUSED:
            try:
                return ExtType(table.PICKLED, self.opaque.wrap(value))
            except RefusedError:
                if row is table.REFUSED:
                    raise
                return row.encode(value)
        try:
            return row.encode(value)
        except RefusedError:
            return ExtType(table.PICKLED, self.opaque.wrap(value))

    def _is_wrong(self, value: object) -> bool:
        """Tell whether a dict's keys, or a set's elements, can't be sent as they are."""
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, _KEYED):
                if keys.repeats(item, self._convert):
                    return True
                stack += [key for key in item if type(key) not in _LEAVES]
                if isinstance(item, dict):
                    stack += [part for part in item.values() if type(part) not in _LEAVES]
            elif isinstance(item, _LISTED):
                stack += [part for part in item if type(part) not in _LEAVES]
            elif isinstance(item, Timestamp):
                return True
            elif table.find(type(item)).holds and self.opaque is None:
                made = self._convert(item)
                if type(made) is list or type(made) is dict:
                    stack.append(made)
        return False

    def decode(self, data: bytes | bytearray | memoryview, depth: int = MAX_DEPTH) -> Payload:
        """Decode exactly one value, or raise :class:`DecodeError`; at most ``depth`` containers.

        ``depth`` is not less than what :class:`slither._wire.fast.Fast` takes.
        """
        value = _fast.read(data)
        if value is not NOT_READ:
            return value
        if is_mark(data):
            raise DecodeError("a mark is no value by itself")
        spare = _MSGPACK_DEPTH - depth
        value = self._decode_plainly(b"".join((b"\x91" * spare, data)))
        for _ in range(spare):
            value = value[0]
        return late.made(value) if self.opaque is None and late.ever() else value

    def decode_frame(self, data: bytes | bytearray) -> Payload:
        """Decode as :meth:`decode` does, of the depth that a frame may have.

        Values of registered types may be left unmade: see :mod:`slither._wire.late`.
        """
        value = _fast.read(data)
        return self._decode_plainly(data) if value is NOT_READ else value

    def _decode_plainly(self, data: bytes | bytearray) -> Payload:
        try:
            value = self._unpack(data)
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
        except (TypeError, ValueError, msgpack.UnpackException, OverflowError) as error:
            raise DecodeError(str(error) or "not msgpack") from None
        # msgpack reads its own timestamps, which have the type -1, without asking the hook.
        if (
            not (len(data) >= LONG and is_plain(value, len(data)))
            and follows(data, b"\xff", b"\xd6\xd7\x04\x08\x0c")
            and has_timestamp(data)
        ):
            raise DecodeError("no extension has the type -1")
        return value

    def _unpack(self, data: bytes | bytearray) -> Payload:
        if not self._marked:
            try:
                return unpackb(data, strict_map_key=False, ext_hook=_extension)
            except Marked:
                # Marks need a hook that costs every list; a list as a key, one for every dict.
                pass
            except TypeError:
                return self._read(data, pairs)
        try:
            return self._read(data)
        except TypeError:
            return self._read(data, pairs)

    def _read(self, data: bytes | bytearray, of_pairs: Payload = None) -> Payload:
        reading = Reading(self.opaque)
        value = unpackb(
            data,
            strict_map_key=False,
            ext_hook=reading.extension,
            list_hook=reading.array,
            object_pairs_hook=of_pairs,
        )
        self._marked = reading.is_marked
        return reading.checked(value)


def _may_be_wrong(packed: bytes, value: object) -> bool:
    return not (len(packed) >= LONG and is_plain(value, len(packed))) and (
        follows(packed, b"\x7f", b"\xcb") or follows(packed, b"\xff", b"\xcb\xd6\xd7\x0c")
    )


def _extension(code: int, data: bytes | bytearray) -> Payload:
    decode = table.DECODERS.get(code)
    if decode is not None:
        value = decode(data)
        if code == ARRAY and is_scalar(value):
            raise Marked
        return value
    if code in (MARK, table.PICKLED):
        raise Marked
    return table.refuse_code(code, data)


class _Packing:
    """A packer, the list that the value goes into, and the outermost of the lists around that.

    Those use up the depth that a value may not have. One thread at a time has it.
    """

    __slots__ = ("_codec", "doubt", "pack", "place", "whole")

    def __init__(self, codec: Codec, spare: int) -> None:
        self._codec = codec
        self.doubt = False
        self.place: list[object] = [None]
        self.whole = self.place
        for _ in range(spare - 1):
            self.whole = [self.whole]
        packer = Packer(use_bin_type=True, strict_types=True, default=self._default)
        self.pack: Callable[[object], bytes] = packer.pack

    def _default(self, value: object) -> object:
        kind = type(value)
        row = _ROWS.get(kind) or table.find(kind)
        if row.doubt is not None and row.doubt(value):
            # Two such values may be one key on BEAM, or no key.
            self.doubt = True
        return row.encode(value) if self._codec.opaque is None else self._codec._convert(value)


_fast = Fast()
PLAIN = Codec()
"""Carries no objects by value, and opens none."""
encode, encode_head = PLAIN.encode, PLAIN.encode_head
encode_view, encode_once = PLAIN.encode_view, PLAIN.encode_once
decode, decode_frame = PLAIN.decode, PLAIN.decode_frame
