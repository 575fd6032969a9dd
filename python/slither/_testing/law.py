"""The law of values in expressions: types, equality and order, as ``protocol/PROTOCOL.md`` says.

Pure; :mod:`slither._testing.evaluate` asks. What a type is called, and whether it has an order,
is in the table of types.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from slither._errors import SlitherError
from slither._types import Payload
from slither._wire.codec import decode, encode
from slither._wire.types.moments import instant
from slither._wire.types.table import find
from slither._wire.types.tagged import parts_of

OTHER = "a value that can't be sent"
_PLAIN = {
    type(None): "None",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    list: "list",
    dict: "dict",
}
_NUMBERS = frozenset({"int", "float", "decimal"})
# What is ordered beside what the table says.
_ORDERED = frozenset({"str", "bytes"})


def seen(value: Payload) -> Payload:
    """Return a value as it would come: a tuple is a list, a NumPy scalar its number."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, tuple):
        return list(value)
    if not find(kind).lossy:
        return value
    try:
        return decode(encode(value))
    except SlitherError:
        return value


def type_of(value: Payload) -> str:
    """Name the type of a value that was seen."""
    plain = _PLAIN.get(type(value))
    if plain is not None:
        return plain
    row = find(type(value))
    if row.name == "datetime" and value.utcoffset() is None:
        return "naive_datetime"
    return OTHER if row.name == "other" else row.name


def equal(a: Payload, b: Payload) -> bool:
    """Tell whether two values are the same."""
    a, b = seen(a), seen(b)
    kind, other = type_of(a), type_of(b)
    if kind in _NUMBERS and other in _NUMBERS:
        return bool(a == b)
    return kind == other and _EQUAL.get(kind, _plainly)(a, b)


def _plainly(a: Payload, b: Payload) -> bool:
    return bool(a == b)


def _lists(a: Payload, b: Payload) -> bool:
    return len(a) == len(b) and all(map(equal, a, b))


def _dicts(a: Payload, b: Payload) -> bool:
    others = {_identity(key): value for key, value in b.items()}
    return len(a) == len(b) and all(
        _identity(key) in others and equal(value, others[_identity(key)])
        for key, value in a.items()
    )


def _identity(key: Payload) -> Payload:
    if isinstance(key, tuple):
        return ("tuple", *map(_identity, key))
    return (type(key).__name__, key)


def _sets(a: Payload, b: Payload) -> bool:
    others = {element: element for element in b}
    return len(a) == len(b) and all(
        element in others and equal(element, others[element]) for element in a
    )


def _bytes(a: Payload, b: Payload) -> bool:
    return encode(a) == encode(b)


def _tagged(a: Payload, b: Payload) -> bool:
    (name, value), (other, another) = parts_of(a), parts_of(b)
    return name == other and equal(value, another)


def _instants(a: datetime, b: datetime) -> bool:
    return instant(a) == instant(b)


_EQUAL: dict[str, Callable[[Payload, Payload], bool]] = {
    "list": _lists,
    "dict": _dicts,
    "set": _sets,
    "frozenset": _sets,
    "tensor": _bytes,
    "arrow": _bytes,
    "tagged": _tagged,
    "datetime": _instants,
}


def is_element(container: Payload, part: Payload) -> bool:
    """Tell whether a list or a set has a part that is the same."""
    return any(equal(other, part) for other in container)


def ordered(a: Payload, b: Payload, compare: Callable[[Payload, Payload], bool]) -> bool | None:
    """Compare two values that were seen; False beside a NaN, None where they have no order."""
    kind, other = type_of(a), type_of(b)
    if kind in _NUMBERS and other in _NUMBERS:
        # A decimal that is none raises where a float gives False.
        return a == a and b == b and bool(compare(a, b))  # noqa: PLR0124
    if kind != other or not (kind in _ORDERED or find(type(a)).ordered):
        return None
    return bool(compare(instant(a), instant(b)) if kind == "datetime" else compare(a, b))
