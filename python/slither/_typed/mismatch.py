"""What a converter raises where a value is not of its type, and the words for that.

Pure; converters add where they were as it passes through them, and whoever asked for the
conversion, in a worker or in a program, makes a :class:`slither.PayloadError` of it.
"""

from __future__ import annotations

from typing import Any

from slither._errors import PayloadError
from slither._words import article

_LONGEST = 60
# The packages whose values cross as data.
_DATA = frozenset(
    {"builtins", "datetime", "decimal", "uuid", "pathlib", "zoneinfo", "numpy", "pandas"}
) | {"pyarrow", "polars", "slither"}
_SCALARS = (str, bytes, bool, int, float, complex)


class Mismatch(Exception):
    """A value that is not of the type that an annotation says.

    ``steps`` lead to the value, the innermost first.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []
        self.name = ""
        """The type that was tried, where it is one of several."""

    def at(self, step: str) -> Mismatch:
        """Note a step on the way to the value, as ``[3]`` or ``.x``, and return itself."""
        self.steps.append(step)
        return self

    @property
    def path(self) -> str:
        """The way from the outermost value."""
        return "".join(reversed(self.steps))

    def told(self, root: str) -> PayloadError:
        """Return the error that users see; ``root`` is what the outermost value is called."""
        error = PayloadError(root + self.path, self.reason)
        error.__cause__ = self.__cause__
        return error


def expected(what: str, value: object) -> Mismatch:
    """Say that a value is another than what was expected.

    >>> expected("int", "three").reason, expected("Point", None).reason
    ('int expected, not the str "three"', 'Point expected, not None')
    """
    return Mismatch(f"{what} expected, not {shown(value)}")


def is_data(value: object) -> bool:
    """Tell whether a value is one that crosses as data."""
    return type(value).__module__.partition(".")[0] in _DATA


def refused(what: str, value: Any, more: str = "") -> Any:
    """Raise for data that are another than what was expected; return any other object as it is.

    What came by value, or by a type that somebody has registered, is what its sender had.
    """
    if is_data(value):
        raise Mismatch(f"{expected(what, value).reason}{more}")
    return value


def shown(value: object) -> str:
    """Return a value in few words: its type, and itself where that is short.

    >>> shown("a"), shown(3), shown([1, 2]), shown({"x": 1})
    ('the str "a"', 'the int 3', 'a list of 2', 'a dict with "x"')
    """
    if value is None:
        return "None"
    kind = type(value)
    if kind in _SCALARS:
        return f"the {kind.__name__} {_short(value)}"
    if kind in (list, tuple, set, frozenset):
        return f"{article(kind.__name__)} of {len(value)}"  # type: ignore[arg-type]
    if kind is dict:
        keys: list[object] = list(value)  # type: ignore[call-overload]
        return f"a dict with {listed(keys)}" if keys else "an empty dict"
    return article(kind.__name__)


def listed(keys: list[object]) -> str:
    """Return the first few of some keys.

    >>> listed(["a", "b", 3, "c", "d", "e", "f"])
    '"a", "b", 3, "c", "d", …'
    """
    text = ", ".join(map(_short, keys[:5]))
    return f"{text}, …" if len(keys) > 5 else text


def step_of(key: object) -> str:
    """Return the step of a path to the value of a key.

    >>> step_of("a"), step_of(3)
    ('["a"]', '[3]')
    """
    return f"[{_short(key)}]"


def _short(value: object) -> str:
    if type(value) is str:
        text = '"' + value[: _LONGEST + 1].encode("utf-8", "backslashreplace").decode() + '"'
    else:
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001 - an integer too long to show, or the user's code
            text = type(value).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
