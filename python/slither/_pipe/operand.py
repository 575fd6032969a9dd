"""What expressions are made of: constants, dicts, lists and other expressions, checked.

Pure; called by :mod:`slither._pipe.expression`, in the thread of whoever writes a pipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from slither._errors import ExpressionError
from slither._types import Payload

MAX_DEPTH = 64
MAX_SIZE = 10_000
INT_BOUND = 1 << 63


class Part(NamedTuple):
    """An operand as a document has it, but in tuples; how deep it is, and of how many parts."""

    data: Payload
    depth: int
    size: int


class Made:
    """The base of expressions, which are never changed."""

    __slots__ = ("_part",)

    _part: Part


class Unfinished:
    """The base of what is not an expression yet."""

    __slots__ = ()


def expression_of(value: object) -> Payload:
    """Return the data of anything that an expression is made of, checked."""
    return plain(part(value).data)


def plain(data: Payload) -> Payload:
    """Make lists of the tuples within."""
    return [plain(part) for part in data] if isinstance(data, tuple) else data


def part(value: object) -> Part:
    """Return one operand, or raise for what can be none."""
    if isinstance(value, Made):
        return value._part
    if isinstance(value, Mapping):
        return _dict(value)
    if isinstance(value, list | tuple):
        parts = [part(inner) for inner in value]
        return whole(("list", tuple(inner.data for inner in parts)), parts)
    return Part(_constant(value), 0, 1)


def operation(name: str, operands: Sequence[object]) -> Part:
    """Return an operation on operands."""
    parts = [part(operand) for operand in operands]
    return whole((name, *(operand.data for operand in parts)), parts)


def chain(name: str, left: object, right: object) -> Part:
    """Return a & b & c as one operation on three, so that a long chain is not deep."""
    parts: list[Part] = []
    for side in (left, right):
        if isinstance(side, Made) and side._part.data[0] == name:
            inner = side._part
            parts += [Part(one, inner.depth - 1, 0) for one in inner.data[1:]]
            parts[-1] = parts[-1]._replace(size=inner.size - 1)
        else:
            parts.append(part(side))
    return whole((name, *(operand.data for operand in parts)), parts)


def whole(shape: tuple[Payload, ...], parts: Sequence[Part]) -> Part:
    """Return what is made of parts, unless it is too deep or too large."""
    depth = 1 + max((inner.depth for inner in parts), default=0)
    size = 1 + sum(inner.size for inner in parts)
    if depth > MAX_DEPTH:
        raise ExpressionError(f"the expression is deeper than {MAX_DEPTH} operations")
    if size > MAX_SIZE:
        raise ExpressionError(f"the expression has more than {MAX_SIZE:,} parts")
    return Part(shape, depth, size)


def _dict(value: Mapping[object, object]) -> Part:
    parts = []
    for key, inner in value.items():
        if type(key) not in (str, int):
            raise ExpressionError(f"a key of a dict in an expression is a str or an int: {key!r}")
        parts.append((_constant(key), part(inner)))
    pairs = tuple((key, inner.data) for key, inner in parts)
    return whole(("dict", pairs), [inner for _, inner in parts])


def _constant(value: object) -> Payload:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -INT_BOUND <= value < INT_BOUND:
            raise ExpressionError(f"{value} is beyond the 64 bits of an expression's int")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError(f"{value} can't stand in an expression: it is no finite number")
        return float(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ExpressionError(f"{value!r} can't be sent: it is no valid Unicode") from None
        return str(value)
    raise ExpressionError(_refused(value))


def _refused(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, Unfinished):
        return "when(…) is not finished: it needs its .then(…) and .otherwise(…)"
    if callable(value):
        return (
            f"{getattr(value, '__name__', kind)} runs in Python, and an expression on BEAM; "
            "give it to .python(…)"
        )
    return (
        f"a {kind} can't stand in an expression; what can: expressions, None, bool, int, float, "
        "str, and dicts and lists of these"
    )
