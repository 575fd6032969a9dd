"""The options of stages, checked by one table each, as they are in a document."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, TypedDict

from slither._pipe.expression import Operand

if TYPE_CHECKING:
    from slither._types import Payload

Check = tuple[str, Callable[[object], bool]]


class PythonOptions(TypedDict, total=False):
    """Options of :meth:`slither.Pipe.python`; times are in ms, None for no limit."""

    batch_size: int | Literal["auto"]
    target_ms: int
    min_batch_size: int
    max_batch_size: int
    max_in_flight: int
    max_in_flight_bytes: int
    ordering: Literal["preserve", "as_completed"]
    isolate: bool
    timeout: int | None
    queue_timeout: int | None
    pool: str
    weight: Operand
    max_weight: int
    key: Operand
    window: int


class RetryOptions(TypedDict, total=False):
    """Options of :func:`slither.pipe.retry`; times are in ms."""

    max_attempts: int
    base_ms: int
    max_ms: int
    jitter: bool
    on: Literal["any"] | list[str]
    then: object


def _whole(least: int) -> Check:
    def check(value: object) -> bool:
        return type(value) is int and value >= least

    return f"a whole number of {least} or more", check


def _one_of(*words: str) -> Check:
    return " or ".join(map(repr, words)), lambda value: value in words


def _either(check: Check, constant: object) -> Check:
    words, accepts = check
    shown = f"{words}, or {constant!r}"
    return shown, lambda value: accepts(value) or (value == constant and value is not False)


_LONGEST = 0xFFFFFFFF
MS: Check = (
    f"milliseconds (1 to {_LONGEST})",
    lambda value: type(value) is int and 1 <= value <= _LONGEST,
)
BOOL: Check = ("True or False", lambda value: type(value) is bool)
TEXT: Check = (
    "a str",
    lambda value: isinstance(value, str) and 0 < len(value.encode(errors="replace")) < 256,
)
ANYTHING: Check = ("an expression", lambda value: True)
REASONS: Check = (
    '"any", or a list of reasons',
    lambda value: (
        value == "any"
        or (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value))
    ),
)

PYTHON: dict[str, Check] = {
    "batch_size": _either(_whole(1), "auto"),
    "target_ms": _whole(1),
    "min_batch_size": _whole(1),
    "max_batch_size": _whole(1),
    "max_in_flight": _whole(1),
    "max_in_flight_bytes": _whole(1),
    "ordering": _one_of("preserve", "as_completed"),
    "isolate": BOOL,
    "timeout": _either(MS, None),
    "queue_timeout": _either(MS, None),
    "pool": TEXT,
    "weight": ANYTHING,
    "max_weight": _whole(1),
    "key": ANYTHING,
    "window": _whole(1),
}
BEAM: dict[str, Check] = {
    "cardinality": _one_of("one", "many"),
    "concurrency": _whole(1),
    "batch": BOOL,
}
BATCH: dict[str, Check] = {"size": _whole(1), "timeout": _either(MS, None)}
RETRY: dict[str, Check] = {
    "max_attempts": _whole(1),
    "base_ms": _whole(0),
    "max_ms": _whole(0),
    "jitter": BOOL,
    "on": REASONS,
    "then": ANYTHING,
}


def wrong(options: Mapping[str, object], table: Mapping[str, Check]) -> str | None:
    """Say what is wrong with options, or None."""
    for name, value in options.items():
        if name not in table:
            return f"unknown option {name!r}.{nearest(name, table)} Accepted: {', '.join(table)}"
        words, accepts = table[name]
        if not accepts(value):
            return f"option {name!r} takes {words}, got {value!r:.80}"
    return None


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask about the name that is nearest; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f" Did you mean {near[0]!r}?" if near else ""


def needs(options: Mapping[str, Payload]) -> str | None:
    """Say which options of a Python stage do not go together, or None."""
    if "weight" in options and "key" in options:
        return "options 'weight' and 'key' are two ways to batch: give one of them"
    if ("weight" in options) != ("max_weight" in options):
        return "options 'weight' and 'max_weight' go together"
    if "window" in options and "key" not in options:
        return "option 'window' goes with 'key'"
    if options.get("batch_size") == "auto" and ("weight" in options or "key" in options):
        return "batch_size='auto' does not go with 'weight' or 'key'"
    return None
