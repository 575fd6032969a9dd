"""Expressions evaluated in Python, by the law of ``protocol/PROTOCOL.md``: for tests of pipes.

Pure; called by :mod:`slither._testing.simulate`. BEAM has its own, which the same vectors check.
What values are the same, and in what order, is in :mod:`slither._testing.law`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from slither._errors import SlitherError
from slither._pipe.operand import INT_BOUND
from slither._pipe.render import render
from slither._testing.law import equal, is_element, ordered, seen, type_of
from slither._types import Payload

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_MAX_TEXT = 0x4000000


class EvaluationError(SlitherError):
    """An expression that has no value for an item.

    ``kind`` is one of those of the protocol; ``at`` is the part of the expression that failed.
    """

    def __init__(self, kind: str, at: Payload, reason: str) -> None:
        super().__init__(f"{render(at)}: {reason}")
        self.kind = kind
        self.at = render(at)
        self.reason = reason


class SkipItem(SlitherError):
    """The expression says that the item is to be skipped; ``value`` is the reason."""

    def __init__(self, value: Payload) -> None:
        super().__init__("skipped")
        self.value = value


def evaluate(data: Payload, item: Payload, error: Payload = None) -> Payload:
    """Return an expression's value for an item.

    Arguments: ``data``, the expression as in a document, ``item``, and for error policies
    ``error``. Raises :class:`EvaluationError` and :class:`SkipItem`.

    >>> evaluate([">=", ["get", ["item"], "score"], 0.8], {"score": 0.9})
    True
    """
    if not isinstance(data, list):
        return data
    name, *parts = data
    form = _FORMS.get(name)
    if form is not None:
        return form(data, parts, lambda part: evaluate(part, item, error))
    if name == "item":
        return item
    if name == "error":
        return error
    return _OPERATIONS[name](data, *(seen(evaluate(part, item, error)) for part in parts))


_Run = Callable[["Payload"], "Payload"]


def _fail(kind: str, at: Payload, reason: str) -> EvaluationError:
    return EvaluationError(kind, at, reason)


def _truth(value: Payload, at: Payload, what: str) -> bool:
    if type(value) is not bool:
        raise _fail("type", at, f"{what} takes True or False, got {type_of(value)}")
    return value


# --- forms, which evaluate their operands as they need them -----------------------------------


def _get_or(data: Payload, parts: list[Payload], run: _Run) -> Payload:
    of, key = seen(run(parts[0])), seen(run(parts[1]))
    found = _find(data, of, key)
    if found:
        return found[0]
    if len(parts) == 3:
        return run(parts[2])
    if isinstance(of, list):
        raise _fail("missing", data, f"there is no index {key} in a list of {len(of)}")
    raise _fail("missing", data, f"there is no key {render(key)}")


def _when(data: Payload, parts: list[Payload], run: _Run) -> Payload:
    for condition, value in parts[0]:
        if _truth(seen(run(condition)), data, "when"):
            return run(value)
    return run(parts[1])


def _skip(data: Payload, parts: list[Payload], run: _Run) -> Payload:
    raise SkipItem(run(parts[0]))


def _fail_item(data: Payload, parts: list[Payload], run: _Run) -> Payload:
    reason = run(parts[0])
    raise _fail("fail", data, reason if isinstance(reason, str) else repr(reason))


_FORMS: dict[str, Callable[[Payload, list[Payload], _Run], Payload]] = {
    "get": _get_or,
    "and": lambda data, parts, run: all(_truth(seen(run(one)), data, "&") for one in parts),
    "or": lambda data, parts, run: any(_truth(seen(run(one)), data, "|") for one in parts),
    "when": _when,
    "dict": lambda data, parts, run: {key: run(value) for key, value in parts[0]},
    "list": lambda data, parts, run: [run(value) for value in parts[0]],
    "skip": _skip,
    "fail": _fail_item,
}


# --- parts ------------------------------------------------------------------------------------


def _find(at: Payload, of: Payload, key: Payload) -> list[Payload]:
    # Gives the part in a list, which is empty where there is none.
    kind, wanted = type_of(of), type_of(key)
    if kind == "dict":
        if wanted not in ("str", "int"):
            raise _fail("type", at, f"a key is a str or an int, got {wanted}")
        # Python takes 1, 1.0 and True for one key, and BEAM for three.
        if key in of and (wanted == "str" or any(type(k) is int for k in of if k == key)):
            return [of[key]]
        return []
    if kind == "list":
        if wanted != "int":
            raise _fail("type", at, f"an index is an int, got {wanted}")
        return [of[key]] if -len(of) <= key < len(of) else []
    raise _fail("type", at, f"only a dict or a list has parts, got {kind}")


def _in(at: Payload, part: Payload, of: Payload) -> bool:
    kind = type_of(of)
    if kind in ("list", "set", "frozenset"):
        return is_element(of, part)
    if kind == "dict":
        return bool(_find(at, of, part))
    if kind == "str":
        if type_of(part) != "str":
            raise _fail("type", at, f"a str holds a str, got {type_of(part)}")
        return part in of
    raise _fail("type", at, f"only a list, a set, a dict or a str holds parts, got {kind}")


def _len(at: Payload, value: Payload) -> int:
    if type_of(value) not in _SIZED:
        raise _fail(
            "type", at, f"len takes a str, list, dict, set or bytes, got {type_of(value)}"
        )
    return len(value)


_SIZED = ("str", "list", "dict", "set", "frozenset", "bytes")


# --- comparison -------------------------------------------------------------------------------


def _ordered(compare: Callable[[Payload, Payload], bool]) -> Callable[..., bool]:
    def run(at: Payload, a: Payload, b: Payload) -> bool:
        is_so = ordered(a, b, compare)
        if is_so is None:
            raise _fail("type", at, f"{type_of(a)} and {type_of(b)} have no order")
        return is_so

    return run


# --- arithmetic -------------------------------------------------------------------------------


def _number(at: Payload, value: Payload, sign: str) -> Payload:
    kind = type_of(value)
    if kind == "int":
        return _small(at, value)
    if kind != "float":
        raise _fail("type", at, f"{sign} takes numbers, got {kind}")
    if not math.isfinite(value):
        raise _fail("range", at, f"{sign} takes finite numbers")
    return value


def _small(at: Payload, value: int) -> int:
    if not -INT_BOUND <= value < INT_BOUND:
        raise _fail("range", at, "an int is beyond 64 bits")
    return value


def _finite(at: Payload, value: float) -> float:
    if not math.isfinite(value):
        raise _fail("range", at, "the result is no finite number")
    return value


def _arithmetic(at: Payload, a: Payload, b: Payload, sign: str) -> Payload:
    numbers = {"int", "float"}
    if type_of(a) not in numbers or type_of(b) not in numbers:
        also = ", two strs or two lists" if sign == "+" else ""
        raise _fail("type", at, f"{sign} takes numbers{also}, got {type_of(a)} and {type_of(b)}")
    a, b = _number(at, a, sign), _number(at, b, sign)
    whole = isinstance(a, int) and isinstance(b, int)
    if not whole:
        a, b = float(a), float(b)
    result = a + b if sign == "+" else a - b if sign == "-" else a * b
    return _small(at, result) if whole else _finite(at, result)


def _add(at: Payload, a: Payload, b: Payload) -> Payload:
    if isinstance(a, list) and isinstance(b, list):
        return a + b
    if isinstance(a, str) and isinstance(b, str):
        if len(a.encode()) + len(b.encode()) > _MAX_TEXT:
            raise _fail("range", at, "the str is longer than 64 MiB")
        return a + b
    return _arithmetic(at, a, b, "+")


def _divide(at: Payload, a: Payload, b: Payload) -> float:
    above, below = float(_number(at, a, "/")), float(_number(at, b, "/"))
    if below == 0:
        raise _fail("zero", at, "division by zero")
    return _finite(at, above / below)


def _whole(sign: str) -> Callable[..., int]:
    def run(at: Payload, a: Payload, b: Payload) -> int:
        if type_of(a) != "int" or type_of(b) != "int":
            raise _fail("type", at, f"{sign} takes two ints, got {type_of(a)} and {type_of(b)}")
        a, b = _small(at, a), _small(at, b)
        if b == 0:
            raise _fail("zero", at, "division by zero")
        return _small(at, a // b if sign == "//" else a % b)

    return run


# --- text -------------------------------------------------------------------------------------


def _str(at: Payload, value: Payload) -> str:
    if type_of(value) != "str":
        raise _fail("type", at, f"it takes a str, got {type_of(value)}")
    return str(value)


def _split(at: Payload, value: Payload, *separators: Payload) -> list[str]:
    text = _str(at, value)
    if not separators:
        return [word for word in text.translate(_BLANKS).split(" ") if word]
    separator = _str(at, separators[0])
    if separator == "":
        raise _fail("value", at, "the separator is empty")
    return text.split(separator)


_BLANKS = dict.fromkeys(map(ord, SPACES), " ")

_OPERATIONS: dict[str, Callable[..., Payload]] = {
    "==": lambda at, a, b: equal(a, b),
    "!=": lambda at, a, b: not equal(a, b),
    "<": _ordered(lambda a, b: a < b),
    "<=": _ordered(lambda a, b: a <= b),
    ">": _ordered(lambda a, b: a > b),
    ">=": _ordered(lambda a, b: a >= b),
    "+": _add,
    "-": lambda at, a, b: _arithmetic(at, a, b, "-"),
    "*": lambda at, a, b: _arithmetic(at, a, b, "*"),
    "neg": lambda at, a: _arithmetic(at, 0, a, "-"),
    "/": _divide,
    "//": _whole("//"),
    "%": _whole("%"),
    "not": lambda at, a: not _truth(a, at, "~"),
    "in": _in,
    "is_none": lambda at, a: a is None,
    "len": _len,
    "lower": lambda at, a: "".join(char.lower() for char in _str(at, a)),
    "upper": lambda at, a: "".join(char.upper() for char in _str(at, a)),
    "strip": lambda at, a: _str(at, a).strip(SPACES),
    "split": _split,
    "startswith": lambda at, a, b: _str(at, a).startswith(_str(at, b)),
    "endswith": lambda at, a, b: _str(at, a).endswith(_str(at, b)),
}
