"""What a program asks of a Beam, checked, and as BEAM gets it.

Pure functions, called in the thread that asks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, TypeVar

from slither import _options
from slither._driver import launch
from slither._driver.functions import main_module, reference
from slither._types import Payload

if TYPE_CHECKING:
    from typing_extensions import Required

    from slither._pipe.options import Policy

T = TypeVar("T")
R = TypeVar("R")

StrPath = str | os.PathLike[str]
One: TypeAlias = Callable[[T], R]
"""A function of an item."""
Many: TypeAlias = Callable[[list[T]], list[R]]
"""A function of a batch."""
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


class Keeps(MapOptions, total=False):
    """The options of a map that gives the results that went well."""

    on_error: Kept


class Returns(MapOptions, total=False):
    """The options of a map that gives exceptions in the places of results."""

    on_error: Required[Literal["return"]]


def count(name: str, value: T) -> T:
    """Return a whole number of 1 or more; ValueError names what it is for."""
    return _options.checked(name, value, _options.whole(1))


def milliseconds(name: str, seconds: float | None) -> int | None:
    """Return seconds as milliseconds, None for no limit."""
    found = _options.checked(name, seconds, _options.SECONDS)
    return None if found is None else max(1, round(found * 1_000))


def one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    """Return one of the known words."""
    text = f"one of {', '.join(map(repr, known))}"
    return str(_options.checked(name, value, (text, lambda given: given in known)))


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


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pool_settings(
    *,
    workers: int,
    python: StrPath | None,
    preload: Iterable[str],
    paths: Iterable[StrPath],
    env: Mapping[str, str | None] | None,
    cwd: StrPath | None,
    initializer: Callable[..., object] | None,
    initargs: Iterable[object],
    startup_timeout: float | None,
    shutdown_timeout: float,
    more: Mapping[str, object] | None,
) -> dict[str, Payload]:
    """Return the settings of the pool: see :class:`slither.Beam` for what they are."""
    interpreter = os.fspath(python) if python is not None else sys.executable
    variables = {"PYTHONPATH": launch.python_path() or None, **(env or {})}
    first: list[Payload] | None = None
    if initializer is not None:
        first = [*reference(initializer), list(initargs)]
    return {
        "size": workers,
        "python": interpreter,
        "preload": list(preload),
        "paths": [*(os.fspath(path) for path in paths), *launch.search_path(interpreter)],
        "env": variables,
        "cd": os.fspath(cwd) if cwd is not None else None,
        "main": main_module(),
        "argv": [_sendable(argument) for argument in getattr(sys, "argv", ())],
        "initializer": first,
        "startup_timeout": milliseconds("startup_timeout", startup_timeout),
        # BEAM needs time to kill the workers that do not stop, with the processes they started.
        "shutdown": milliseconds("shutdown_timeout", shutdown_timeout / 3),
        **(more or {}),
    }


def _sendable(argument: object) -> str | bytes:
    # Python holds the bytes of an argument that are not the locale's text as lone surrogates.
    text = str(argument)
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text
