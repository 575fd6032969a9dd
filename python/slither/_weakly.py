"""What is found of a function, kept for as long as somebody else has that.

A lambda may hold much, and a bound method has its object: a cache of them would keep all that.
Pure but for what it keeps; any thread calls it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

T = TypeVar("T")
_NOTHING = object()


def weakly(find: Callable[[Any], T]) -> Callable[[Any], T]:
    """Return ``find``, which is called once for each function.

    >>> @weakly
    ... def length(function):
    ...     return len(function.__name__)
    >>> length(weakly), length(weakly)
    (6, 6)
    """
    known: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
    of_methods: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    @functools.wraps(find)
    def found(function: Any) -> T:
        # A bound method is made anew each time, of a function that stays.
        table, holder = known, function
        if isinstance(function, MethodType):
            table, holder = of_methods, function.__func__
        try:
            made = table.get(holder, _NOTHING)
        except Exception:  # noqa: BLE001 - it can't be hashed or compared, or referred to weakly
            return find(function)
        if made is _NOTHING:
            made = table[holder] = find(function)
        return cast("T", made)

    return found
