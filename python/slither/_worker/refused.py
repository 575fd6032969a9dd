"""What an exception says of when to come again: an API's answer to too many requests.

Read by what the exceptions of HTTP clients have in common, so that none of them is imported.
Called where an exception is made an error map.
"""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime

_TOO_MANY = 429
_UNAVAILABLE = 503
_UNSAID = 1.0
"""Seconds where an answer says that there were too many requests, and no more."""
_DAY = 86_400.0
_CAUSES = 5
"""So many exceptions are looked at, each the cause of the one before it."""


def later(error: BaseException) -> int | None:
    """Return in how many milliseconds to come again, or None where nothing says so.

    >>> class TooManyError(Exception):
    ...     retry_after = 2.5
    >>> later(TooManyError())
    2500
    >>> later(ValueError("no"))
    """
    cause: BaseException | None = error
    for _ in range(_CAUSES):
        if cause is None:
            return None
        if (seconds := _told(cause)) is not None:
            return milliseconds(seconds)
        below = _attribute(cause, "__cause__")
        cause = below if isinstance(below, BaseException) else None
    return None


def milliseconds(seconds: float) -> int:
    """Return a time to wait as it is sent: a day at most."""
    return math.ceil(1_000 * min(max(seconds, 0.0), _DAY))


def _told(error: BaseException) -> float | None:
    said = _seconds(_attribute(error, "retry_after"))
    if said is not None:
        return said
    # Clients of HTTP have the answer in the exception, or are it themselves.
    for answer in (_attribute(error, "response"), error):
        status = _status(answer)
        if status is not None:
            headers = _attribute(answer, "headers")
            said = _header(headers, "retry-after-ms", 1e-3)
            said = _header(headers, "retry-after", 1.0) if said is None else said
            if said is not None or status == _TOO_MANY:
                return _UNSAID if said is None else said
    return None


def _status(answer: object) -> int | None:
    for name in ("status_code", "status", "code"):
        status = _attribute(answer, name)
        if type(status) is int and status in (_TOO_MANY, _UNAVAILABLE):
            return status
    return None


def _header(headers: object, name: str, unit: float) -> float | None:
    get = _attribute(headers, "get")
    if not callable(get):
        return None
    try:
        # Names of headers have no case, but a plain dict's have.
        text = get(name) or get(name.title())
    except BaseException:  # noqa: BLE001 - the headers are an object of another's
        return None
    said = _seconds(text)
    return None if said is None else said * unit


def _seconds(value: object) -> float | None:
    """Read seconds, or the date that a header may have in their place."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        if isinstance(value, int | float | str):
            said = float(value)
        else:
            said = float(_attribute(value, "total_seconds")())  # type: ignore[operator]
    except BaseException:  # noqa: BLE001 - it is no number, or an object of another's
        said = _until(value)
    return said if math.isfinite(said) else None


def _until(date: object) -> float:
    try:
        return max(0.0, parsedate_to_datetime(str(date)).timestamp() - time.time())
    except BaseException:  # noqa: BLE001 - the module has raised several for what is no date
        return math.nan


def _attribute(owner: object, name: str) -> object:
    try:
        return getattr(owner, name, None)
    except BaseException:  # noqa: BLE001 - a property of the user's may raise
        return None
