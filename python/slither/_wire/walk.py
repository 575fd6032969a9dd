"""The slow way to encode: one value after another, so that an error can name its path.

Pure functions; :mod:`slither._wire.codec` calls them for what the fast way has refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgpack import ExtType, Packer, Timestamp

from slither._errors import EncodeError
from slither._types import Payload
from slither._version import MAX_DEPTH
from slither._wire.types import keys
from slither._wire.types.groups import TAGGED, is_mark
from slither._wire.types.hints import reason
from slither._wire.types.keys import Convert
from slither._wire.types.row import RefusedError
from slither._wire.types.table import plain

Step = tuple[str | None, object]


def encode_slowly(
    value: object, root: str, limit: int = MAX_DEPTH, convert: Convert = plain
) -> bytes:
    """Encode ``value``, or raise :class:`EncodeError` with the path of what can't be sent."""
    # autoreset=False: the pieces add up in the packer's buffer until bytes() takes them. An
    # exception in pack() empties that buffer, so none may be caught and passed over.
    packer = Packer(use_bin_type=True, strict_types=True, autoreset=False)
    walk = _Walk(packer, convert)
    stack: list[Iterator[Step]] = [iter([(None, value)])]
    steps: list[str | None] = []
    while stack:
        try:
            step, item = next(stack[-1], (None, _END))
            if item is _END:
                stack.pop()
                if steps:
                    steps.pop()
                continue
            steps.append(step)
            children = walk.emit(item, limit - len(stack))
        except RefusedError as refusal:
            raise EncodeError(root + "".join(filter(None, steps)), str(refusal)) from None
        except RecursionError:
            path = root + "".join(filter(None, steps))
            raise EncodeError(path, "a key nests too many containers") from None
        if children is None:
            steps.pop()
        elif len(stack) > limit:
            path = root + "".join(filter(None, steps[:3])) + "…"
            why = f"the value nests more than {limit:,} containers; does it contain itself?"
            raise EncodeError(path, why)
        else:
            stack.append(children)
    return bytes(packer.bytes())


_END = object()


class _Key:
    """Marks a key or an element, so that it is packed without a step in the path."""

    def __init__(self, key: object, what: str) -> None:
        self.key = key
        self.what = what


class _Walk:
    """What packs one value or its head; ``convert`` makes of others what a packer takes."""

    def __init__(self, packer: Payload, convert: Convert) -> None:
        self._packer = packer
        self._convert = convert

    def emit(self, item: object, room: int) -> Iterator[Step] | None:
        """Pack a leaf, or the head of a container whose children are returned.

        ``room`` is how many containers the item may nest in those that it is in.
        """
        if type(item) is _Key:
            self._pack_key(item)
            return None
        made = self._made(item)
        if type(made) is dict:
            self._packer.pack_map_header(len(made))
            return self._entries(made, room, isinstance(item, dict))
        if type(made) is not list:
            self._pack(made)
            return None
        self._packer.pack_array_header(len(made))
        if not made or not is_mark(made[0]):
            return ((f"[{index}]", part) for index, part in enumerate(made))
        self._pack(made[0])
        if isinstance(item, set | frozenset):
            return ((None, _Key(part, "element")) for part in self._once(item, room, "element"))
        if made[0] is TAGGED:
            return ((None, part) for part in made[1:])
        return ((f"[{index}]", part) for index, part in enumerate(made[1:]))

    def _made(self, item: Payload) -> Payload:
        kind = type(item)
        if kind is ExtType or kind is Timestamp:
            if is_mark(item):
                return item
            raise RefusedError(reason(item))
        if kind in _TAKEN or (kind is int and -(1 << 63) <= item < 1 << 64):
            return item
        if kind is str:
            try:
                item.encode()
            except UnicodeEncodeError:
                made = self._convert(item)
                if type(made) is ExtType:
                    return made
                raise RefusedError(_SURROGATE) from None
            return item
        return self._convert(item)

    def _pack(self, made: object) -> None:
        try:
            self._packer.pack(made)
        except UnicodeEncodeError:
            raise RefusedError(_SURROGATE) from None
        except (TypeError, ValueError, OverflowError) as error:
            raise RefusedError(str(error)) from None

    def _entries(self, items: dict[object, object], room: int, is_dict: bool) -> Iterator[Step]:
        for key in self._once(items, room, "key"):
            yield None, _Key(key, "key")
            # What an object's fields became has names for keys.
            yield f"[{short(key)}]" if is_dict else f".{key}", items[key]

    def _once(self, items: Iterable[object], room: int, what: str) -> Iterator[object]:
        seen: set[object] = set()
        for key in items:
            if _depth(key) > room:
                raise RefusedError("a key nests too many containers")
            try:
                shared = keys.form(key, self._convert)
            except RefusedError as refusal:
                raise RefusedError(f"the {what} {short(key)}: {refusal}") from None
            if shared in seen:
                raise RefusedError(f"the {what} {short(key)} appears twice once it is sent")
            seen.add(shared)
            yield key

    def _pack_key(self, marked: _Key) -> None:
        parts = [marked.key]
        while parts:
            part = parts.pop()
            try:
                made = self._made(part)
                if type(made) is list:
                    self._packer.pack_array_header(len(made))
                    parts.extend(reversed(made))
                else:
                    self._pack(made)
            except RefusedError as refusal:
                raise RefusedError(f"the {marked.what} {short(part)}: {refusal}") from None


_TAKEN = frozenset({list, dict, float, bytes, bytearray, memoryview, bool, type(None)})
_SURROGATE = "a str with a lone surrogate cannot be sent; send bytes"


def _depth(key: object) -> int:
    """Count how deep the tuples and frozensets of a key nest."""
    depth = 0
    level = [key]
    while level := [part for part in level if isinstance(part, tuple | frozenset)]:
        depth += 1
        level = [part for parts in level for part in parts]
    return depth


def short(key: object) -> str:
    """Show a key in a path, the way BEAM's side quotes it too, and never a long one."""
    if isinstance(key, str):
        text = '"' + str.__str__(key)[:60].encode("utf-8", "backslashreplace").decode() + '"'
    else:
        try:
            text = repr(key)
        except Exception:  # noqa: BLE001 - the user's code, or an integer too long to show
            text = type(key).__name__
    return text if len(text) <= 80 else text[:79] + "…"
