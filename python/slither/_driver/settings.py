"""Checks of what a caller asks for, and what BEAM gets of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from slither._pipe.policies import Policy
    from slither._types import Payload

Ordering: TypeAlias = Literal["preserve", "as_completed"]
Kept: TypeAlias = "Literal['halt', 'skip'] | Policy"
"""What becomes of items that fail in a map whose results are those that went well."""
OnError: TypeAlias = "Kept | Literal['return']"
"""What becomes of items that fail in a map."""


class MapOptions(TypedDict, total=False):
    """The options of a map beside ``on_error``: see :meth:`slither.Beam.map`."""

    batch_size: int | None
    max_in_flight: int | None
    ordering: Ordering
    isolate: bool
    timeout: float | None
    trace: str | None
    progress: bool


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


def policy(on_error: OnError) -> tuple[Payload, str]:
    """Return BEAM's policy, and what becomes of items that failed for good.

    >>> from slither.pipe import retry
    >>> policy("return")
    ('skip', 'return')
    >>> policy(retry(max_attempts=2, then="skip"))
    ({'retry': {'max_attempts': 2, 'then': 'skip'}}, 'skip')
    """
    document = getattr(on_error, "document", None)
    if isinstance(document, dict) and "retry" in document:
        then = document["retry"].get("then", "halt")
        if then in ("halt", "skip"):
            return document, str(then)
        raise ValueError(
            "on_error: a map has no outputs to route to; then takes 'halt' or 'skip'"
        )
    if document is not None:
        raise ValueError("on_error: a map has no outputs to route to; use a pipe")
    word = one_of("on_error", on_error, ("halt", "skip", "return"))
    return ("halt" if word == "halt" else "skip"), word
