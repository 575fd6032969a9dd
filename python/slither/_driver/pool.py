"""The pool of a Beam, as BEAM gets it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from slither._driver import launch, settings
from slither._driver.functions import main_module, reference

if TYPE_CHECKING:
    from slither._types import Payload

StrPath = str | os.PathLike[str]


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
        "startup_timeout": settings.milliseconds("startup_timeout", startup_timeout),
        # Workers that do not stop are killed, with what they have started, while BEAM is there.
        "shutdown": settings.milliseconds("shutdown_timeout", shutdown_timeout / 3),
        **(more or {}),
    }


def _sendable(argument: object) -> str | bytes:
    # An argument that is no text of this locale's is in Python's str as lone surrogates.
    text = str(argument)
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text
