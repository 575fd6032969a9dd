"""What a log frame tells of a record beside its text.

Pure; called in the thread that logs, by the log handler in :mod:`slither._worker.output`.
"""

from __future__ import annotations

import logging
import math

from slither._types import Payload
from slither._wire.checks import COUNTS, LONG_TEXTS, TEXTS
from slither._wire.codec import encode
from slither._wire.faults import clean

_LONGEST_NAME = 4_096
# Bytes, encoded, of all the attributes that a program has added to a record.
_MOST_EXTRA = 65_536
_LARGEST = (1 << 64) - 1

_OWN = {*vars(logging.makeLogRecord({})), *TEXTS, "message", "asctime"}


def facts_of(record: logging.LogRecord) -> dict[str, Payload]:
    """Return where a record was made, by the names of its attributes.

    What is not there, or has another type than :mod:`logging` gives it, is left out. Attributes
    that the program has added stand under ``extra`` as far as they can be sent, in the order in
    which they were added and up to 64 KiB together. A formatter that has formatted the record
    has put its exception into ``exc_text``.
    """
    facts: dict[str, Payload] = {}
    own = vars(record)
    for name in TEXTS:
        if isinstance(text := own.get(name), str):
            facts[name] = clean(str(text), _LONGEST_NAME)
    for name in COUNTS:
        if type(count := own.get(name)) is int and 0 <= count <= _LARGEST:
            facts[name] = count
    for name in LONG_TEXTS:
        if isinstance(text := own.get(name), str) and text:
            facts[name] = clean(str(text))
    created = own.get("created")
    if type(created) is float and math.isfinite(created):
        facts["created"] = created
    if len(own) > len(_OWN) or not own.keys() <= _OWN:
        facts["extra"] = _extra(own)
    return facts


def _extra(own: dict[str, object]) -> dict[str, Payload]:
    extra: dict[str, Payload] = {}
    left = _MOST_EXTRA
    for name, value in list(own.items()):
        if name in _OWN:
            continue
        try:
            size = len(encode({name: value}))
        except Exception:  # noqa: BLE001 - what can't be sent; the value's class is the user's
            continue
        if type(name) is str and size <= left:
            left -= size
            extra[name] = value
    return extra
