"""Tuples and sets: arrays whose first element is a mark.

Pure functions, called by the codec through the table of types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgpack import ExtType

from slither._errors import DecodeError
from slither._wire.types.row import Row

MARK = 16
TUPLE, SET, FROZENSET, TAGGED = (ExtType(MARK, bytes((byte,))) for byte in range(4))


_MARKS = frozenset(map(id, (TUPLE, SET, FROZENSET, TAGGED)))


def is_mark(part: object) -> bool:
    """Tell whether that is a mark of this module's, not an extension that a user has made."""
    return id(part) in _MARKS


def _encode_tuple(value: tuple[Any, ...]) -> list[Any]:
    return [TUPLE, *value]


def _encode_set(value: set[Any]) -> list[Any]:
    return [SET, *value]


def _encode_frozenset(value: frozenset[Any]) -> list[Any]:
    return [FROZENSET, *value]


def _build(kind: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def build(items: list[Any]) -> Any:
        try:
            made = kind(items)
        except TypeError:
            made = kind([hashable(item) for item in items])
        if len(made) != len(items):
            raise DecodeError("a set has an element twice")
        return made

    return build


def hashable(key: Any) -> Any:
    """Return a key with tuples for lists and frozensets for sets, or raise DecodeError."""
    if not isinstance(key, list | tuple | set):
        return _hashable_leaf(key)
    return folded(key, _parts, _kept, _hashable_leaf)


def _parts(key: Any) -> Any:
    return key if isinstance(key, list | tuple | set | frozenset) else None


def _kept(key: Any, parts: list[Any]) -> Any:
    return frozenset(parts) if isinstance(key, set | frozenset) else tuple(parts)


def _hashable_leaf(leaf: Any) -> Any:
    try:
        hash(leaf)
    except TypeError:
        raise DecodeError(f"a {type(leaf).__name__} can't be a key") from None
    return leaf


def folded(
    value: Any,
    parts: Callable[[Any], Any],
    made: Callable[[Any, list[Any]], Any],
    leaf: Callable[[Any], Any],
) -> Any:
    """Make something of a value's parts first, and then of what those became.

    ``parts`` returns None for a leaf. A loop, as how deep Python may recurse depends on who
    calls, and on a setting.
    """
    inner = parts(value)
    if inner is None:
        return leaf(value)
    whole = [value]
    unread = [iter(inner)]
    ready: list[list[Any]] = [[]]
    while True:
        for item in unread[-1]:
            inner = parts(item)
            if inner is not None:
                whole.append(item)
                unread.append(iter(inner))
                ready.append([])
                break
            ready[-1].append(leaf(item))
        else:
            unread.pop()
            done = made(whole.pop(), ready.pop())
            if not ready:
                return done
            ready[-1].append(done)


def sorted_plain(value: Any) -> list[Any]:
    """Return the elements of a set in an order that is the same in each process."""
    return sorted(value, key=lambda part: (type(part).__name__, repr(part)))


ROWS = (
    Row("list", _encode_tuple, (tuple,), mark=0, build=tuple, plain=list),
    Row("set", _encode_set, (set,), mark=1, build=_build(set), plain=sorted_plain),
    Row(
        "frozenset",
        _encode_frozenset,
        (frozenset,),
        mark=2,
        build=_build(frozenset),
        plain=sorted_plain,
    ),
)
