"""Log records as lines of JSON, with what BEAM knows of the worker that has logged.

::

    import logging
    from slither.logs import JsonFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level="INFO", handlers=[handler])

A record of a worker is handed to the program's :mod:`logging` once, by its own logger. It has the
attributes ``pool``, ``worker``, ``os_pid``, ``call``, ``batch``, ``run``, ``pipe``, ``stage`` and
``session`` where they are known, and ``trace_id`` and ``span_id`` where its call has a trace. A
formatter or a filter of the program's may use them, too.
"""

from __future__ import annotations

import json
import logging
import math
from datetime import datetime, timezone

__all__ = ["JsonFormatter"]

# The names in the order in which they stand, and the attributes that they are of.
_PLACES = {
    "file": "pathname",
    "line": "lineno",
    "function": "funcName",
    "process": "process",
    "thread": "threadName",
    "task": "taskName",
}
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    r"""A formatter whose lines are objects of JSON, one for each record.

    Each has ``time`` (ISO 8601, UTC), ``level``, ``logger`` and ``message``, and where the record
    was made: ``file``, ``line``, ``function``, ``process``, ``thread``, and ``task`` in one. Then
    come the attributes that were added, as above or with ``extra=``, by their names, and
    ``exception`` and ``stack``, as text. What JSON does not know is shown as its ``repr``.

    >>> record = logging.LogRecord("shop", 30, "shop.py", 7, "no %s", ("stock",), None)
    >>> record.worker = 3
    >>> json.loads(JsonFormatter().format(record))["message"]
    'no stock'
    >>> print(JsonFormatter().format(record)[-12:])
    "worker": 3}
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        when = datetime.fromtimestamp(record.created, timezone.utc)
        told: dict[str, object] = {
            "time": when.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        own = vars(record)
        for name, attribute in _PLACES.items():
            if (value := own.get(attribute)) is not None:
                told[name] = value
        for name, value in own.items():
            if name not in _OWN and name not in told:
                told[name] = value
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            told["exception"] = record.exc_text
        if record.stack_info:
            told["stack"] = self.formatStack(record.stack_info)
        return json.dumps(_plain(told))


def _plain(value: object, depth: int = 0) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, dict) and depth < _DEEPEST:
        return {
            key if isinstance(key, str) else _shown(key): _plain(part, depth + 1)
            for key, part in value.items()
        }
    if isinstance(value, list | tuple) and depth < _DEEPEST:
        return [_plain(part, depth + 1) for part in value]
    return _shown(value)


_DEEPEST = 8


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - the value's class is the user's code
        return f"a {type(value).__name__} (its repr() failed)"
