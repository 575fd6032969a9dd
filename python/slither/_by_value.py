"""What code by value is called and where it is kept: what a program and its workers agree on.

And how exceptions are taken apart for a pickle, those of joblib's calls as well. A program's
thread writes the names, a worker's main thread reads them.
"""

from __future__ import annotations

import copyreg
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

SIZE = 32
"""Bytes of a secret, and of a signature."""
TABLE = "slither.by_value"
"""The table on BEAM that has the pickles of functions, each signed, by their keys."""
FUNCTION = "function "
"""What a function is signed as, its key behind it."""
START = "start"
"""What an initializer with its arguments is signed as."""
VALUE = "value"
"""What an object within a value is signed as."""
ERROR = "error"
"""What an exception is signed as."""
OPEN = ("slither._worker.by_value", "start")
"""The function that a worker starts with where its initializer is one by value."""

# No name of Python's has it.
_MARK = "@"
_KEYS = re.compile(r"@\d+\.[0-9a-f]{6}\b")


class Kept(NamedTuple):
    """A function by value: what it is called in its program, and its key in the table."""

    name: str
    key: str


def named(name: str, key: str) -> str:
    """Return what stands for a function by value where a name is expected.

    >>> named("<lambda>", "7"), split("<lambda>@7"), split("pow")
    ('<lambda>@7', Kept(name='<lambda>', key='7'), None)
    """
    return f"{name}{_MARK}{key}"


def split(name: str) -> Kept | None:
    """Return what such a name stands for; None for the name of a function by reference."""
    what, mark, key = name.rpartition(_MARK)
    return Kept(what, key) if mark else None


def plain(text: str) -> str:
    """Return a text without the keys of functions by value: for people.

    >>> plain("__main__.<lambda>@3.0f1a2b, batch 1")
    '__main__.<lambda>, batch 1'
    """
    return _KEYS.sub("", text)


classes: WeakValueDictionary[str, type] = WeakValueDictionary()
"""The classes of this program that its workers fetch, by their keys."""
find: Callable[[Kept], Any] | None = None
"""What fetches one in a worker."""


def fetch(name: str, key: str) -> Any:
    """Return a class that an object by value is of: pickles of such objects call this."""
    found = classes.get(key)
    if found is not None:
        return found
    if find is not None:
        return find(Kept(name, key))
    raise LookupError(f"the class {name} went by value, and is gone here")


def apart(error: BaseException) -> Any:
    """Return what an exception is pickled as, of which :func:`together` makes it again.

    Pickle would call the class with the arguments, which many classes take in another way.

    >>> together(apart(KeyError("a")))
    KeyError('a')
    """
    kind = type(error)
    if kind.__reduce__ is not BaseException.__reduce__:
        return error
    names = [name for name in copyreg._slotnames(kind) if hasattr(error, name)]  # type: ignore[attr-defined]
    slots = {name: getattr(error, name) for name in names}
    return kind, error.args, dict(vars(error)), slots


def together(found: Any) -> Any:
    """Return an exception that :func:`apart` has taken apart."""
    if type(found) is not tuple:
        return found
    kind, arguments, attributes, slots = found
    made = kind.__new__(kind, *arguments)
    made.args = arguments
    made.__dict__.update(attributes)
    for name, value in slots.items():
        object.__setattr__(made, name, value)
    return made
