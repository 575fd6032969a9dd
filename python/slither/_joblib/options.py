"""The options of joblib's backend: what each takes.

Pure; called where a program names them, before anything is started.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from slither import _options

# Those of a Beam that a call of joblib may set.
_BEAM = (
    "python",
    "preload",
    "paths",
    "env",
    "cwd",
    "startup_timeout",
    "pool",
    "shutdown_timeout",
)
_OWN = ("call_timeout", "idle_worker_timeout", "lost", "initializer", "initargs")


class Options(NamedTuple):
    """What a program asked for, checked."""

    beam: dict[str, Any]
    call_timeout: float | None
    idle_worker_timeout: float | None
    lost: Literal["raise", "return"]
    initializer: tuple[Any, tuple[Any, ...]] | None


def options(given: Mapping[str, Any]) -> Options:
    """Return the options of a call; TypeError for a name that is none, ValueError for a value.

    >>> options({"call_timeout": 5, "env": {"A": "1"}}).call_timeout
    5
    """
    for name in given:
        _options.known("the backend 'slither'", name, sorted((*_BEAM, *_OWN)))
    initializer = given.get("initializer")
    if initializer is not None and not callable(initializer):
        raise TypeError(f"initializer is a function, not {initializer!r:.80}")
    start = None if initializer is None else (initializer, tuple(given.get("initargs", ())))
    timeout = given.get("call_timeout")
    if timeout is not None:
        _options.checked("call_timeout", timeout, _options.DURATION)
    return Options(
        {name: given[name] for name in _BEAM if name in given},
        timeout,
        _options.checked(
            "idle_worker_timeout", given.get("idle_worker_timeout", 300), _options.SECONDS
        ),
        _options.checked("lost", given.get("lost", "raise"), _options.words("raise", "return")),
        start,
    )
