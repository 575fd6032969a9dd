"""What a list, an iterator or a coroutine is of, by its annotation.

Pure; :mod:`slither._typed.functions` asks.
"""

from __future__ import annotations

import collections
import typing
from collections import abc
from typing import Any

from slither._typed.generic import bare, substituted
from slither._typed.hints import kind_of

_ROWS = {
    *(list, set, frozenset, collections.deque),
    *(abc.Sequence, abc.MutableSequence, abc.Reversible, abc.Collection, abc.Iterable),
    *(abc.Iterator, abc.Generator, abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator),
}
# Which argument of a coroutine's type is that of its result.
_AWAITED = {abc.Awaitable: 0, abc.Coroutine: 2}


def of_rows(annotation: object) -> object:
    """Return what each element is of, where an annotation says several; else Any.

    >>> of_rows(list[int]), of_rows(abc.Iterator[str]), of_rows(tuple[bytes, ...])
    (<class 'int'>, <class 'str'>, <class 'bytes'>)
    """
    annotation = _plain(annotation)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if kind_of(origin) == "Union":
        # One of several kinds of lists; an element is one of any.
        found = [of_rows(one) for one in inner if one is not type(None)]
        return found[0] if len(found) == 1 else _either(found)
    if origin in _ROWS and inner:
        return inner[0]
    if origin is tuple and len(inner) == 2 and inner[1] is ...:
        return inner[0]
    return Any


def of_awaited(annotation: object) -> object:
    """Return what comes of a coroutine; of any other annotation itself.

    >>> of_awaited(abc.Awaitable[int]), of_awaited(list[int])
    (<class 'int'>, list[int])
    """
    annotation = _plain(annotation)
    inner = typing.get_args(annotation)
    origin: Any = typing.get_origin(annotation)
    place = _AWAITED.get(origin, len(inner))
    return inner[place] if place < len(inner) else annotation


def _either(found: list[object]) -> object:
    return Any if Any in found else typing.Union[tuple(found)]  # noqa: UP007 - made when it runs


def _plain(annotation: object) -> object:
    """Return an annotation without aliases and what only wraps it."""
    while True:
        annotation = bare(annotation)
        origin: Any = typing.get_origin(annotation)
        if type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__  # type: ignore[attr-defined]
        elif type(origin).__name__ == "TypeAliasType":
            known = dict(zip(origin.__type_params__, typing.get_args(annotation), strict=False))
            annotation = substituted(origin.__value__, known)
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        else:
            return annotation
