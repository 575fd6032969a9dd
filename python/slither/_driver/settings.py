"""Checks of what a caller asks for, and what BEAM gets of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slither._types import Payload

Policy = str | Mapping[str, object]
_RETRY = ("max_attempts", "base_ms", "max_ms", "jitter", "then")


def count(name: str, value: object) -> int:
    """Return a whole number of 1 or more; ValueError names what it is for."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is a whole number of 1 or more, not {value!r}")
    return value


def milliseconds(name: str, seconds: object) -> int | None:
    """Return seconds as milliseconds, None for no limit."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise ValueError(f"{name} is a number of seconds above 0, or None, not {seconds!r}")
    return max(1, round(seconds * 1_000))


def one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    """Return one of the known words."""
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}")
    return str(value)


def policy(on_error: Policy) -> tuple[Payload, str]:
    """Return BEAM's policy, and what becomes of items that failed for good.

    >>> policy("return")
    ('skip', 'return')
    >>> policy({"retry": {"max_attempts": 2}, "then": "skip"})
    ({'retry': {'max_attempts': 2}, 'then': 'skip'}, 'skip')
    """
    if isinstance(on_error, Mapping):
        unknown = set(on_error) - {"retry", "then"}
        options = on_error.get("retry")
        if unknown or not isinstance(options, Mapping):
            raise ValueError(
                "on_error as a dict is {'retry': {...}, 'then': 'halt' | 'skip' | 'return'}, "
                f"not {on_error!r}"
            )
        wrong = set(options) - set(_RETRY)
        if wrong:
            raise ValueError(f"retry takes {', '.join(_RETRY[:-1])}, not {sorted(wrong)}")
        then, failures = policy(_word(on_error.get("then", "halt")))
        return {"retry": dict(options), "then": then}, failures
    word = one_of("on_error", on_error, ("halt", "skip", "return"))
    return ("halt" if word == "halt" else "skip"), word


def _word(value: object) -> str:
    return one_of("then", value, ("halt", "skip", "return"))
