"""Expressions over an item, built in Python as data and evaluated on BEAM.

Whoever writes a pipe makes them, in his thread, by operators and methods. The operations and
their law are in ``protocol/PROTOCOL.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeAlias, Union

from slither._errors import ExpressionError
from slither._pipe import operand
from slither._pipe.operand import Made, Unfinished, part
from slither._pipe.render import render
from slither._types import Payload

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


def _infix(
    operation: str, doc: str, swapped: bool = False
) -> Callable[[Expression, Operand], Expression]:
    """Make the method of an operator with two operands."""

    def method(self: Expression, other: Operand) -> Expression:
        left, right = (other, self) if swapped else (self, other)
        if operation in ("and", "or"):
            return _made(operand.chain(operation, left, right))
        return Expression(operation, left, right)

    method.__doc__ = doc
    return method


class Expression(Made):
    """A value that BEAM computes for each item.

    It is made from :data:`slither.item` by the operators and methods below, and never has a
    value in Python: using it in an ``if``, a loop or a text raises
    :class:`slither.ExpressionError`, a ``TypeError``.
    """

    __slots__ = ()

    def __init__(self, operation: str, *operands: Operand) -> None:
        """Take an operation and its operands; made by operators, not by hand."""
        object.__setattr__(self, "_part", operand.operation(operation, operands))

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

    __eq__ = _infix("==", "Tell whether both are the same; numbers by value.")  # type: ignore[assignment]
    __ne__ = _infix("!=", "Tell whether they differ.")  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]
    __lt__ = _infix("<", "Compare two numbers, strs, bytes or datetimes.")
    __le__ = _infix("<=", "Compare, as ``<``.")
    __gt__ = _infix(">", "Compare, as ``<``.")
    __ge__ = _infix(">=", "Compare, as ``<``.")
    __add__ = _infix("+", "Add two numbers, or join two strs or two lists.")
    __radd__ = _infix("+", "Add, as ``+``.", swapped=True)
    __sub__ = _infix("-", "Subtract numbers.")
    __rsub__ = _infix("-", "Subtract numbers.", swapped=True)
    __mul__ = _infix("*", "Multiply numbers.")
    __rmul__ = _infix("*", "Multiply numbers.", swapped=True)
    __truediv__ = _infix("/", "Divide numbers; the result is a float.")
    __rtruediv__ = _infix("/", "Divide numbers; the result is a float.", swapped=True)
    __floordiv__ = _infix("//", "Divide two ints, rounding down.")
    __rfloordiv__ = _infix("//", "Divide two ints, rounding down.", swapped=True)
    __mod__ = _infix("%", "Take the remainder of two ints, with the sign of the divisor.")
    __rmod__ = _infix("%", "Take the remainder of two ints, as ``%``.", swapped=True)
    # BEAM does not evaluate the second operand if the first decides.
    __and__ = _infix("and", "Tell whether both are true.")
    __rand__ = _infix("and", "Tell whether both are true.", swapped=True)
    __or__ = _infix("or", "Tell whether one is true.")
    __ror__ = _infix("or", "Tell whether one is true.", swapped=True)

    def __neg__(self) -> Expression:
        """Negate a number."""
        return Expression("neg", self)

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

    # An expression has no value yet, so it refuses Python's operations on values.

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

    # Type checkers see neither of these, and say so where code calls it or asks for attributes.
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


class When(Unfinished):
    """``when(condition)``, which waits for its ``then``."""

    __slots__ = ("_cases", "_condition")

    def __init__(self, cases: list[tuple[Operand, Operand]], condition: Operand) -> None:
        """Take the cases before, and this one's condition."""
        self._cases = cases
        self._condition = condition

    def then(self, value: Operand) -> Then:
        """Give the value for this condition."""
        return Then([*self._cases, (self._condition, value)])


class Then(Unfinished):
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
        cases = [(part(condition), part(then)) for condition, then in self._cases]
        last = part(value)
        parts = [one for case in cases for one in case] + [last]
        shown = tuple((condition.data, then.data) for condition, then in cases)
        return _made(operand.whole(("when", shown, last.data), parts))

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


def data(expression: Expression) -> Payload:
    """Return an expression as the lists of a document."""
    return operand.plain(expression._part.data)


def _made(part: operand.Part) -> Expression:
    expression = Expression.__new__(Expression)
    object.__setattr__(expression, "_part", part)
    return expression


item = Expression("item")
"""The item's payload, from which expressions are made."""

error = Expression("error")
"""In an error policy: the error, a dict of reason, message, type and attempts."""
