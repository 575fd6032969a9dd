"""Types of users' own, by name: what :func:`slither.register` knows, and :class:`Tagged`.

Called by whoever registers a type, in any thread, and by the codec through the table of types.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from slither._errors import DecodeError
from slither._references import SCRIPT
from slither._wire import late
from slither._wire.types.groups import TAGGED
from slither._wire.types.row import RefusedError, Row, always, named
from slither._words import said

T = TypeVar("T")


class Tagged(late.Whole):
    """A value that goes by a name, where nothing is registered that would restore its type.

    Arguments: ``name``, a str; ``value``, anything that can be sent.

    >>> Tagged("shop.Money", [5, "EUR"])
    Tagged('shop.Money', [5, 'EUR'])
    """

    __slots__ = ("name", "value")
    __match_args__ = ("name", "value")

    name: str
    value: Any

    def __init__(self, name: str, value: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "value", value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Tagged can't be changed; make another with its {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Tagged can't be changed; it keeps its {name}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not Tagged:
            return NotImplemented
        return self.name == other.name and bool(self.value == other.value)

    def __hash__(self) -> int:
        try:
            return hash((self.name, self.value))
        except TypeError:
            # An object that can be a key may go as data that can't.
            return hash(self.name)

    def _parts(self) -> tuple[Any, ...]:
        return (self.value,)

    def _made(self, parts: list[Any]) -> Any:
        return _restored(self.name, parts[0])

    def _is_late(self) -> bool:
        return self.name in _names

    def __reduce__(self) -> tuple[type[Tagged], tuple[str, Any]]:
        return Tagged, (self.name, self.value)

    def __repr__(self) -> str:
        return f"Tagged({self.name!r}, {self.value!r})"


def _encode_tagged(value: Tagged) -> list[Any]:
    return [TAGGED, _checked(value.name), value.value]


def parts_of(value: Any) -> tuple[str, Any]:
    """Return the name and the data of a value, which a row of this module encodes."""
    row = next((row for row, _decode in _names.values() if row.types[0] is type(value)), ROW)
    made: Any = row.encode(value)
    return made[1], made[2]


def _build(parts: list[Any]) -> Any:
    if len(parts) != 2 or type(parts[0]) is not str:
        raise DecodeError("a tagged value is a name and one value")
    late.meet()
    return Tagged(*parts)


def _restored(name: str, value: Any) -> Any:
    known = _names.get(name)
    if known is None:
        return Tagged(name, value)
    row, decode = known
    try:
        return decode(value)
    except Exception as error:
        why = f"what {row.types[0].__qualname__} is registered with could not decode a {name}: "
        raise DecodeError(f"{why}{said(error)}") from error


def _checked(name: object) -> str:
    if type(name) is str:
        return name
    raise RefusedError(f"the name of a tagged value is a str, not {named(name)}")


ROW = Row(
    "tagged",
    _encode_tagged,
    (Tagged,),
    mark=3,
    build=_build,
    holds=True,
    doubt=always,
    plain=lambda tagged: tagged.value,
)

_names: dict[str, tuple[Row, Callable[[Any], Any]]] = {}
_lock = threading.Lock()


# What the packer takes by itself, and never asks for.
_OWN = (bool, int, float, str, bytes, list, dict, type(None))


def row_of(
    kind: type[T],
    encode: Callable[[T], Any],
    decode: Callable[[Any], T],
    name: str | None = None,
) -> Row:
    """Keep what restores a type by its name, and return its row."""
    if not isinstance(kind, type):
        raise TypeError(f"slither.register takes a type first, not {kind!r}")
    if kind in _OWN:
        raise ValueError(
            f"slither.register: {kind.__name__} goes as it is; register a class derived from it"
        )
    for what, function in (("encode", encode), ("decode", decode)):
        if not callable(function):
            raise TypeError(f"slither.register: {what} is a function of one value")
    if name is None:
        # A worker runs the script under another name; it is __main__ there once it is loaded.
        module = "__main__" if kind.__module__ == SCRIPT else kind.__module__
        name = f"{module}.{kind.__qualname__}"
    if type(name) is not str or not name:
        raise TypeError(f"slither.register: name is a str that is not empty, not {name!r}")

    def encoded(value: T) -> list[Any]:
        try:
            return [TAGGED, name, encode(value)]
        except Exception as error:
            why = f"what {kind.__qualname__} is registered with could not encode it: "
            raise RefusedError(f"{why}{said(error)}") from error

    row = Row("tagged", encoded, (kind,), holds=True, doubt=always, plain=encode)
    late.use()
    with _lock:
        other = _names.get(name)
        if other is not None and not _is_same(other[0].types[0], kind):
            raise ValueError(
                f"slither.register: the name {name!r} is that of {other[0].types[0]!r}; "
                "give name= another"
            )
        _names[name] = row, decode
    return row


def _is_same(old: type, new: type) -> bool:
    # A module that is loaded again, and a cell that runs again, make their classes anew.
    return old is new or (
        (old.__module__, old.__qualname__) == (new.__module__, new.__qualname__)
    )
