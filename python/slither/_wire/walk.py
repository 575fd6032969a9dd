"""The slow way to encode: one value after another, so that an error can name its path.

Pure functions; :mod:`slither._wire.codec` calls them for what the fast way has refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

from msgpack import ExtType, Packer, Timestamp

from slither._errors import EncodeError
from slither._types import Payload
from slither._version import MAX_DEPTH
from slither._wire.extensions import RefusedError, reason, to_wire

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def encode_slowly(value: object, root: str, limit: int = MAX_DEPTH) -> bytes:
    """Encode ``value``, or raise :class:`EncodeError` with the path of what can't be sent."""
    # autoreset=False: the pieces add up in the packer's buffer until bytes() takes them. An
    # exception in pack() empties that buffer, so none may be caught and passed over.
    packer = Packer(use_bin_type=True, autoreset=False, default=to_wire)
    stack: list[Iterator[tuple[str | None, object]]] = [iter([(None, value)])]
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
            children = _emit(packer, item, limit - len(stack))
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


def _emit(packer: Payload, item: object, room: int) -> Iterator[tuple[str | None, object]] | None:
    """Pack a leaf, or the head of a container whose children are returned.

    ``room`` is how many containers the item may nest in those that it is in.
    """
    if isinstance(item, ExtType | Timestamp):
        raise RefusedError(reason(item))
    if isinstance(item, list | tuple):
        packer.pack_array_header(len(item))
        return ((f"[{index}]", child) for index, child in enumerate(item))
    if isinstance(item, dict):
        packer.pack_map_header(len(item))
        return _entries(item, room)
    _leaf(packer, item)
    return None


def _entries(items: dict[object, object], room: int) -> Iterator[tuple[str | None, object]]:
    seen: set[object] = set()
    for key, value in items.items():
        if _depth(key) > room:
            raise RefusedError("a key nests too many containers")
        plain = _plain_key(key)
        if plain in seen:
            raise RefusedError(f"the key {short(key)} appears twice once it is sent")
        seen.add(plain)
        yield None, _Key(key)
        yield f"[{short(key)}]", value


class _Key:
    """Marks a key, so that it is packed without a step in the path."""

    def __init__(self, key: object) -> None:
        self.key = key


def _leaf(packer: Payload, item: object) -> None:
    if isinstance(item, _Key):
        _pack_key(packer, item.key)
        return
    try:
        packer.pack(item)
    except UnicodeEncodeError:
        raise RefusedError("a str with a lone surrogate cannot be sent; send bytes") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise RefusedError(str(error)) from None


def _pack_key(packer: Payload, key: object) -> None:
    parts = [key]
    while parts:
        part = parts.pop()
        if isinstance(part, tuple):
            packer.pack_array_header(len(part))
            parts.extend(reversed(part))
            continue
        try:
            _leaf(packer, part)
        except RefusedError as refusal:
            raise RefusedError(f"the key {short(part)}: {refusal}") from None


def _plain_key(key: object) -> object:
    """Return what two keys share when they are one key on the other side."""
    return with_leaves(key, tuple, _plain_leaf)


def _plain_leaf(key: object) -> object:
    if isinstance(key, float) and math.isnan(key):
        return _END
    if isinstance(key, datetime) and type(key).__name__ != "NaTType":
        return key if key.utcoffset() is None else key - _EPOCH
    if isinstance(key, str):
        return str.__str__(key)
    return key


def _depth(key: object) -> int:
    """Count how deep the tuples of a key nest."""
    depth = 0
    level = [key]
    while level := [part for part in level if isinstance(part, tuple)]:
        depth += 1
        level = [part for parts in level for part in parts]
    return depth


def with_leaves(
    value: Payload,
    kind: type[list[Payload]] | type[tuple[Payload, ...]],
    leaf: Callable[[Payload], Payload],
) -> Payload:
    """Return ``value`` with each container of ``kind`` as a tuple, of what ``leaf`` makes of it.

    A loop, as how deep Python may recurse depends on who calls, and on a setting.
    """
    if not isinstance(value, kind):
        return leaf(value)
    unread: list[Iterator[Payload]] = [iter(value)]
    made: list[list[Payload]] = [[]]
    while True:
        for item in unread[-1]:
            if isinstance(item, kind):
                unread.append(iter(item))
                made.append([])
                break
            made[-1].append(leaf(item))
        else:
            unread.pop()
            whole = tuple(made.pop())
            if not made:
                return whole
            made[-1].append(whole)


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
