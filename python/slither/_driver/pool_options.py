"""The options of a Beam's pool: what each takes, and how BEAM gets it.

Pure; called in the thread that starts a Beam, before anything is started.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Literal, TypedDict

from slither import _options
from slither._options import Check, either, whole
from slither._types import Payload

_LEVELS = ("debug", "info", "warning", "error", "critical", "none")
_FOLDER: Check = (
    "a folder, or None",
    lambda value: value is None or isinstance(value, str | os.PathLike),
)
_LIMITS: Check = (
    "a dict of limits by name, each a whole number of 0 or more, None for no limit, "
    "or a tuple of two of them, soft and hard",
    lambda value: (
        value is None or (isinstance(value, Mapping) and all(map(_limit, value.values())))
    ),
)
_Most = Annotated[int | None, either(whole(1), None)]
_Positive = Annotated[int, whole(1)]
_Seconds = Annotated[float | None, _options.SECONDS]
_Duration = Annotated[float, _options.DURATION]


def _limit(value: object) -> bool:
    pair = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    return all(part is None or (type(part) is int and part >= 0) for part in pair)


class PoolOptions(TypedDict, total=False):
    """Further options of a Beam's pool; times are in seconds, None for no limit."""

    spare: Annotated[int, whole(0)]
    grow_after: _Duration
    idle: _Seconds
    window: _Positive
    max_queue: _Positive
    age_limit: _Duration
    max_frame: _Positive
    max_requests: _Most
    max_calls: _Most
    max_rss: _Most
    max_memory: _Most
    rlimits: Annotated[Mapping[str, int | tuple[int | None, int | None] | None] | None, _LIMITS]
    max_age: _Seconds
    startup_timeout: _Seconds
    session_idle: _Seconds
    cancel_grace: _Duration
    shutdown: _Duration
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical", "none"],
        _options.words(*_LEVELS),
    ]
    capture_failures: Annotated[str | os.PathLike[str] | None, _FOLDER]


POOL: dict[str, Check] = {
    name: kept.__metadata__[0] for name, kept in PoolOptions.__annotations__.items()
}
_TIMES = {name for name, check in POOL.items() if check in (_options.SECONDS, _options.DURATION)}
# What is an argument of a Beam itself, by its name on BEAM.
_OWN = {
    "size": "workers",
    "python": "python",
    "preload": "preload",
    "paths": "paths",
    "env": "env",
    "cd": "cwd",
    "initializer": "initializer",
    "watch": "watch",
    "each": "each",
    "gpus": "gpus",
    "start": "start",
    "cpus": "cpus",
}


def pool_options(given: Mapping[str, object] | None) -> dict[str, Payload]:
    """Return further options of a pool as BEAM gets them, their times in ms.

    TypeError for a name that is none, ValueError for a value that does not fit.

    >>> pool_options({"max_age": 60, "spare": 1, "session_idle": None})
    {'max_age': 60000, 'spare': 1, 'session_idle': None}
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"pool takes a dict of options, not {given!r:.80}")
    return {str(name): _checked(name, value) for name, value in given.items()}


def _checked(name: object, value: object) -> Payload:
    if name in _OWN and isinstance(name, str):
        raise TypeError(f"pool: {name!r} is an argument of the Beam itself: {_OWN[name]}=")
    name = _options.known("pool", name, POOL)
    found: Payload = _options.checked(f"pool: {name}", value, POOL[name])
    if name in _TIMES:
        return None if found is None else _options.milliseconds(found)
    if name == "rlimits" and found is not None:
        return {
            resource: list(limit) if isinstance(limit, tuple) else limit
            for resource, limit in found.items()
        }
    return os.fspath(found) if isinstance(found, os.PathLike) else found
