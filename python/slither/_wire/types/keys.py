"""Keys and elements of sets: which values may be some, and which are one once they are sent.

Pure; asked where a codec has a doubt. Two keys that differ here may be one on BEAM, such as two
NaNs, or a member of an enum and its value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgpack import ExtType

from slither._wire.types.arrays import ARRAY, ARROW, TENSOR
from slither._wire.types.groups import folded
from slither._wire.types.row import RefusedError, named
from slither._wire.types.table import PICKLED, ROWS, find

Convert = Callable[[Any], Any]
"""Makes of a value what a packer takes by itself."""

_NAN = object()
# Equal values of these are one key on both sides, and others are none: but for NaN.
_SIMPLE = frozenset({str, int, bool, type(None), bytes})
_NO_KEYS = frozenset({TENSOR, ARRAY, ARROW})


def repeats(keys: Iterable[Any], convert: Convert) -> bool:
    """Tell whether two of a dict's or a set's keys are one, or one is none."""
    odd = [key for key in keys if type(key) not in _SIMPLE]
    if not odd:
        return False
    seen: set[Any] = set()
    try:
        for key in keys:
            shared = form(key, convert)
            if shared in seen:
                return True
            seen.add(shared)
    except RefusedError:
        return True
    return False


def form(key: Any, convert: Convert) -> Any:
    """Return what two keys share when they are one once they are sent.

    Raises RefusedError for what is no key.
    """
    if type(key) in _SIMPLE:
        return key

    def parts(part: Any) -> Any:
        if isinstance(part, tuple | frozenset | list):
            return part
        if type(part) in _SIMPLE or isinstance(part, float):
            return None
        made = convert(part)
        return made if type(made) is list else None

    def leaf(part: Any) -> Any:
        return _leaf(part, convert)

    return folded(key, parts, _whole, leaf)


def _whole(part: Any, parts: list[Any]) -> Any:
    return frozenset(parts) if isinstance(part, frozenset) else tuple(parts)


def _leaf(part: Any, convert: Convert) -> Any:
    if isinstance(part, float):
        return _NAN if part != part else float.__float__(part)  # noqa: PLR0124 - NaN
    if type(part) in _SIMPLE:
        return part
    row = ROWS.get(type(part)) or find(type(part))
    made = convert(part)
    if type(made) is ExtType:
        if made.code in _NO_KEYS:
            raise RefusedError(f"{named(part)} can't be a key")
        if row.key is not None and made.code != PICKLED:
            return row.key(part)
        return made
    if type(made) is dict:
        raise RefusedError(f"{named(part)} can't be a key: it is sent as a dict")
    return _NAN if made != made else made  # noqa: PLR0124 - NaN
