"""Expressions over an item, built in Python as data and evaluated on BEAM.

The operations and their law are in ``protocol/PROTOCOL.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeAlias, Union

from slither._errors import ExpressionError
from slither._pipe.render import render

if TYPE_CHECKING:
    from slither._types import Payload

MAX_DEPTH = 64
MAX_SIZE = 10_000
INT_BOUND = 1 << 63

Operand: TypeAlias = Union[
    "Expression",
    bool,
    int,
    float,
    str,
    Mapping[str, "Operand"],
    Mapping[int, "Operand"],
    Sequence["Operand"],
    None,
]
"""What an expression is made of: other expressions, constants, dicts and lists of them."""

_TRUTH = (
    "an expression has its value on BEAM, not here: it is neither true nor false. "
    "Write & for and, | for or, ~ for not, when(…).then(…).otherwise(…) for if, and "
    "(low < x) & (x < high) for low < x < high"
)


class Expression:
    """A value that BEAM computes for each item.

    It is made from :data:`slither.item` by the operators and methods below, and never has a
    value in Python: using it in an ``if``, a loop or a text raises
    :class:`slither.ExpressionError`, a ``TypeError``.
    """

    __slots__ = ("_data", "_depth", "_size")

    _data: tuple[Payload, ...]
    _depth: int
    _size: int

    def __init__(self, operation: str, *operands: Operand) -> None:
        """Take an operation and its operands; made by operators, not by hand."""
        _set(self, operation, [_part(operand) for operand in operands])

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: an expression is never changed."""
        raise ExpressionError("an expression can't be changed; make another one from it")

    def __repr__(self) -> str:
        """Show it as it is written."""
        return render(data(self))

    def __getitem__(self, key: Operand) -> Expression:
        """Take a part: a dict's key (str or int) or a list's index; an error where it is missing.

        >>> from slither import item
        >>> item["user"]["tags"][0]
        item["user"]["tags"][0]
        """
        if isinstance(key, slice):
            raise ExpressionError("an expression has no slices")
        return Expression("get", self, key)

    def get(self, key: Operand, default: Operand = None) -> Expression:
        """Take a part, or ``default`` where it is missing."""
        return Expression("get", self, key, default)

    def __eq__(self, other: Operand) -> Expression:  # type: ignore[override]
        """Tell whether both are the same; numbers by value."""
        return Expression("==", self, other)

    def __ne__(self, other: Operand) -> Expression:  # type: ignore[override]
        """Tell whether they differ."""
        return Expression("!=", self, other)

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Operand) -> Expression:
        """Compare two numbers, strs, bytes or datetimes."""
        return Expression("<", self, other)

    def __le__(self, other: Operand) -> Expression:
        """Compare, as ``<``."""
        return Expression("<=", self, other)

    def __gt__(self, other: Operand) -> Expression:
        """Compare, as ``<``."""
        return Expression(">", self, other)

    def __ge__(self, other: Operand) -> Expression:
        """Compare, as ``<``."""
        return Expression(">=", self, other)

    def __add__(self, other: Operand) -> Expression:
        """Add two numbers, or join two strs or two lists."""
        return Expression("+", self, other)

    def __radd__(self, other: Operand) -> Expression:
        """Add, as ``+``."""
        return Expression("+", other, self)

    def __sub__(self, other: Operand) -> Expression:
        """Subtract numbers."""
        return Expression("-", self, other)

    def __rsub__(self, other: Operand) -> Expression:
        """Subtract numbers."""
        return Expression("-", other, self)

    def __mul__(self, other: Operand) -> Expression:
        """Multiply numbers."""
        return Expression("*", self, other)

    def __rmul__(self, other: Operand) -> Expression:
        """Multiply numbers."""
        return Expression("*", other, self)

    def __truediv__(self, other: Operand) -> Expression:
        """Divide numbers; the result is a float."""
        return Expression("/", self, other)

    def __rtruediv__(self, other: Operand) -> Expression:
        """Divide numbers; the result is a float."""
        return Expression("/", other, self)

    def __floordiv__(self, other: Operand) -> Expression:
        """Divide two ints, rounding down."""
        return Expression("//", self, other)

    def __rfloordiv__(self, other: Operand) -> Expression:
        """Divide two ints, rounding down."""
        return Expression("//", other, self)

    def __mod__(self, other: Operand) -> Expression:
        """Take the remainder of two ints, with the sign of the divisor."""
        return Expression("%", self, other)

    def __rmod__(self, other: Operand) -> Expression:
        """Take the remainder of two ints, with the sign of the divisor."""
        return Expression("%", other, self)

    def __neg__(self) -> Expression:
        """Negate a number."""
        return Expression("neg", self)

    def __and__(self, other: Operand) -> Expression:
        """Tell whether both are true; the second is not looked at where the first is false."""
        return _join("and", self, other)

    def __rand__(self, other: Operand) -> Expression:
        """Tell whether both are true."""
        return _join("and", other, self)

    def __or__(self, other: Operand) -> Expression:
        """Tell whether one is true; the second is not looked at where the first is true."""
        return _join("or", self, other)

    def __ror__(self, other: Operand) -> Expression:
        """Tell whether one is true."""
        return _join("or", other, self)

    def __invert__(self) -> Expression:
        """Tell whether it is false."""
        return Expression("not", self)

    def is_in(self, container: Operand) -> Expression:
        """Tell whether a list has an equal part, a dict this key, or a str this part."""
        return Expression("in", self, container)

    def contains(self, part: Operand) -> Expression:
        """Tell whether this list, dict or str has the part: :meth:`is_in` from the other side."""
        return Expression("in", part, self)

    def is_none(self) -> Expression:
        """Tell whether it is None; a part that is missing is not, see :meth:`get`."""
        return Expression("is_none", self)

    def len(self) -> Expression:
        """Count the characters of a str, the parts of a list or dict, or bytes."""
        return Expression("len", self)

    def lower(self) -> Expression:
        """Make a str lower case."""
        return Expression("lower", self)

    def upper(self) -> Expression:
        """Make a str upper case."""
        return Expression("upper", self)

    def strip(self) -> Expression:
        """Take white space off both ends of a str."""
        return Expression("strip", self)

    def split(self, separator: Operand = None) -> Expression:
        """Split a str at a separator, or into what stands between white space; a list."""
        if separator is None:
            return Expression("split", self)
        return Expression("split", self, separator)

    def startswith(self, start: Operand) -> Expression:
        """Tell whether a str begins so."""
        return Expression("startswith", self, start)

    def endswith(self, end: Operand) -> Expression:
        """Tell whether a str ends so."""
        return Expression("endswith", self, end)

    # What Python would do with a value, this has none of.

    def __bool__(self) -> NoReturn:
        """Refuse: there is no value here."""
        raise ExpressionError(_TRUTH)

    def __iter__(self) -> NoReturn:
        """Refuse: there is no value here."""
        raise ExpressionError("an expression can't be walked over: BEAM has its value")

    def __contains__(self, part: object) -> NoReturn:
        """Refuse: there is no value here."""
        raise ExpressionError("in can't make an expression; write .contains(x), or x.is_in(…)")

    def __len__(self) -> NoReturn:
        """Refuse: there is no value here."""
        raise ExpressionError("len(x) can't make an expression; write x.len()")

    def __format__(self, spec: str) -> NoReturn:
        """Refuse: there is no value here."""
        raise ExpressionError('an expression can\'t stand in an f-string; write "a" + x + "b"')

    def __int__(self) -> NoReturn:
        """Refuse: there is no value here."""
        raise ExpressionError("an expression has no value here: BEAM computes it for each item")

    __float__ = __index__ = __int__

    def __copy__(self) -> Expression:
        """Return it as it is: it is never changed."""
        return self

    def __deepcopy__(self, memo: object) -> Expression:
        """Return it as it is: it is never changed."""
        return self

    # To a type checker it is not even callable, and has no such attribute.
    if not TYPE_CHECKING:

        def __call__(self, *args, **options):
            """Refuse: it is no function."""
            raise ExpressionError(f"{self!r} is a value, and can't be called")

        def __getattr__(self, name):
            """Refuse, and say how parts are written."""
            if name.startswith("__"):
                raise AttributeError(name)
            raise AttributeError(
                f'an expression has no method {name!r}; a part of the item is {self!r}["{name}"]'
            )


class When:
    """``when(condition)``, which waits for its ``then``."""

    __slots__ = ("_cases", "_condition")

    def __init__(self, cases: list[tuple[Operand, Operand]], condition: Operand) -> None:
        """Take the cases before, and this one's condition."""
        self._cases = cases
        self._condition = condition

    def then(self, value: Operand) -> Then:
        """Give the value for this condition."""
        return Then([*self._cases, (self._condition, value)])


class Then:
    """``when(condition).then(value)``, which waits for its ``otherwise``, or more cases."""

    __slots__ = ("_cases",)

    def __init__(self, cases: list[tuple[Operand, Operand]]) -> None:
        """Take the cases."""
        self._cases = cases

    def when(self, condition: Operand) -> When:
        """Add a case, tried after those before it."""
        return When(self._cases, condition)

    def otherwise(self, value: Operand) -> Expression:
        """Give the value where no condition is true."""
        cases = [(_part(condition), _part(then)) for condition, then in self._cases]
        last = _part(value)
        parts = [part for case in cases for part in case] + [last]
        shown = tuple((condition[0], then[0]) for condition, then in cases)
        return _build(("when", shown, last[0]), parts)

    def __bool__(self) -> NoReturn:
        """Refuse: it is not finished."""
        raise ExpressionError("when(…).then(…) needs its .otherwise(…)")


def when(condition: Operand) -> When:
    """Begin a choice: ``when(c).then(a).when(d).then(b).otherwise(e)``.

    >>> from slither import item
    >>> when(item["n"] > 9).then("many").otherwise("few")
    when(item["n"] > 9).then("many").otherwise("few")
    """
    return When([], condition)


def skip(reason: Operand) -> Expression:
    """End the item here: it is skipped, and counted so. For beam stages.

    >>> from slither import item
    >>> when(item["text"] == "").then(skip("empty")).otherwise(item)
    when(item["text"] == "").then(skip("empty")).otherwise(item)
    """
    return Expression("skip", reason)


def fail(reason: Operand) -> Expression:
    """Fail the item; the stage's error policy says what becomes of it. For beam stages.

    >>> fail("no such user")
    fail("no such user")
    """
    return Expression("fail", reason)


_Part = tuple["Payload", int, int]


def expression_of(value: object) -> Payload:
    """Return the data of anything that an expression is made of, checked."""
    return plain(_part(value)[0])


def data(expression: Expression) -> Payload:
    """Return an expression as the lists of a document."""
    return plain(expression._data)


def plain(data: Payload) -> Payload:
    """Make lists of the tuples within."""
    return [plain(part) for part in data] if isinstance(data, tuple) else data


def _part(value: object) -> _Part:
    # Data, depth and size of one operand.
    if isinstance(value, Expression):
        return value._data, value._depth, value._size
    if value is None or isinstance(value, bool):
        return value, 0, 1
    if isinstance(value, int):
        if not -INT_BOUND <= value < INT_BOUND:
            raise ExpressionError(f"{value} is beyond the 64 bits of an expression's int")
        return int(value), 0, 1
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError(f"{value} can't stand in an expression: it is no finite number")
        return float(value), 0, 1
    if isinstance(value, str):
        return _text(value), 0, 1
    if isinstance(value, Mapping):
        return _dict(value)
    if isinstance(value, list | tuple):
        parts = [_part(part) for part in value]
        made = _build(("list", tuple(part[0] for part in parts)), parts)
        return made._data, made._depth, made._size
    raise ExpressionError(_refused(value))


def _dict(value: Mapping[object, object]) -> _Part:
    parts = []
    for key, inner in value.items():
        if isinstance(key, Expression) or type(key) not in (str, int):
            raise ExpressionError(f"a key of a dict in an expression is a str or an int: {key!r}")
        parts.append((_part(key)[0], _part(inner)))
    pairs = tuple((key, part[0]) for key, part in parts)
    made = _build(("dict", pairs), [part for _, part in parts])
    return made._data, made._depth, made._size


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ExpressionError(f"{value!r} can't be sent: it is no valid Unicode") from None
    return str(value)


def _refused(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, When | Then):
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


def _join(operation: str, left: Operand, right: Operand) -> Expression:
    # a & b & c is one operation of three, so that a long chain is not deep.
    parts: list[_Part] = []
    for side in (left, right):
        if isinstance(side, Expression) and side._data[0] == operation:
            inner = side._data[1:]
            parts += [(part, side._depth - 1, 0) for part in inner]
            parts[-1] = (*parts[-1][:2], side._size - 1)
        else:
            parts.append(_part(side))
    return _build((operation, *(part[0] for part in parts)), parts)


def _set(expression: Expression, operation: str, parts: list[_Part]) -> None:
    _finish(expression, (operation, *(part[0] for part in parts)), parts)


def _build(shape: tuple[Payload, ...], parts: list[_Part]) -> Expression:
    expression = Expression.__new__(Expression)
    _finish(expression, shape, parts)
    return expression


def _finish(expression: Expression, shape: tuple[Payload, ...], parts: list[_Part]) -> None:
    depth = 1 + max((part[1] for part in parts), default=0)
    size = 1 + sum(part[2] for part in parts)
    if depth > MAX_DEPTH:
        raise ExpressionError(f"the expression is deeper than {MAX_DEPTH} operations")
    if size > MAX_SIZE:
        raise ExpressionError(f"the expression has more than {MAX_SIZE:,} parts")
    object.__setattr__(expression, "_data", shape)
    object.__setattr__(expression, "_depth", depth)
    object.__setattr__(expression, "_size", size)


item = Expression("item")
"""The item's payload, from which expressions are made."""

error = Expression("error")
"""In an error policy: the error, a dict of reason, message, type and attempts."""
