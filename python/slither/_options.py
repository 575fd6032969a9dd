"""Checks of options, each with the words for what it accepts: one for pipes, drivers and workers.

Pure functions. Whoever takes options calls them in the thread that gives the options.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, TypeGuard, TypeVar

T = TypeVar("T")

Check: TypeAlias = tuple[str, Callable[[object], bool]]
"""What an option accepts, in words, and what tells whether a value is that."""


def whole(least: int, most: int | None = None) -> Check:
    """Accept whole numbers from ``least`` on, up to ``most``, of which True is none."""
    if most is None:
        return (
            f"a whole number of {least} or more",
            lambda value: _is_int(value) and value >= least,
        )
    text = f"a whole number from {least} to {most:,}"
    return text, lambda value: _is_int(value) and least <= value <= most


def words(*known: str) -> Check:
    """Accept one of a few words."""
    return " or ".join(map(repr, known)), lambda value: value in known


def either(check: Check, constant: object) -> Check:
    """Accept what a check does, and one more value."""
    text, accepts = check
    shown = f"{text}, or {constant!r}"
    return shown, lambda value: accepts(value) or (value == constant and value is not False)


# The longest time that BEAM's timers take, some 49 days.
_LONGEST = 0xFFFFFFFF / 1_000
DURATION: Check = (
    "a number of seconds above 0, of 49 days at most",
    lambda value: _is_number(value) and 0 < value <= _LONGEST,
)
SECONDS: Check = either(DURATION, None)
PAUSE: Check = (
    "a number of seconds of 0 or more, of 49 days at most",
    lambda value: _is_number(value) and 0 <= value <= _LONGEST,
)
BOOL: Check = ("True or False", lambda value: type(value) is bool)
TEXT: Check = (
    "a str of 1 to 255 bytes of UTF-8",
    lambda value: isinstance(value, str) and _is_text(value),
)
_WHOLE, _fits = whole(1, 1_000)
WORKERS: Check = (
    f"{_WHOLE}, or a pair of the least and the most",
    lambda value: _fits(value) or _is_pair(value),
)


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(map(_fits, value))
        and value[0] <= value[1]
    )


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: str) -> bool:
    try:
        return 0 < len(value.encode()) < 256
    except UnicodeEncodeError:
        return False


def _is_number(value: object) -> TypeGuard[float]:
    return _is_int(value) or isinstance(value, float)


def milliseconds(seconds: float) -> int:
    """Return a time above 0 as BEAM gets it, 1 ms or more.

    >>> milliseconds(2.5), milliseconds(0.0001)
    (2500, 1)
    """
    return max(1, round(seconds * 1_000))


def wrong(options: Mapping[str, object], table: Mapping[str, Check]) -> str | None:
    """Say what is wrong with options by the check of each, or return None."""
    for name, value in options.items():
        if name not in table:
            return _unknown(name, table)
        text, accepts = table[name]
        if not accepts(value):
            return f"option {name!r} takes {text}, got {value!r:.80}"
    return None


def checked(name: str, value: T, check: Check) -> T:
    """Return an argument that its check accepts; ValueError names the argument."""
    text, accepts = check
    if not accepts(value):
        raise ValueError(f"{name} is {text}, not {value!r:.80}")
    return value


def known(where: str, name: object, accepted: Iterable[str]) -> str:
    """Return the name of an option; TypeError where there is none of it, with those there are.

    >>> known("pool", "siz", ["size", "python"])
    Traceback (most recent call last):
        ...
    TypeError: pool: unknown option 'siz'. Did you mean 'size'? Accepted: size, python
    """
    accepted = list(accepted)
    if name not in accepted:
        raise TypeError(f"{where}: {_unknown(name, accepted)}")
    return str(name)


def _unknown(name: object, accepted: Iterable[str]) -> str:
    return (
        f"unknown option {name!r}.{nearest(str(name), accepted)} Accepted: {', '.join(accepted)}"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask about the name that is nearest; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f" Did you mean {near[0]!r}?" if near else ""
