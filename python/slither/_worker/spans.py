"""Spans that have ended, until BEAM is told of them: those that no exporter of the program's has.

Any thread may end a span. They go before the answer of a call, or earlier where it takes long.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from slither._errors import EncodeError, ProtocolError
from slither._types import Payload
from slither._wire import frames
from slither._wire.build import frame
from slither._wire.faults import clean
from slither._worker import current

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(1, 6)
"""Kinds of spans, as OpenTelemetry numbers them on the wire."""
# Spans of one frame, and how long the first of them waits for others, in ns.
_TOGETHER = 128
_WAIT_NS = 1_000_000_000
# Spans of one call: others are dropped, and counted.
_MOST = 2_048
# Characters of a text in a span, and values in a list.
_TEXT = 16_384
_VALUES = 128

_lock = threading.RLock()
_waiting: list[dict[str, Payload]] = []
_dropped = 0
_told = 0
_since = 0


def fresh(size: int) -> bytes:
    """Return an id; the program may have seeded the random numbers of Python."""
    return os.urandom(size)


def begin() -> None:
    """Begin a call, which may have as many spans as any."""
    global _told
    _told = 0


def add(
    ids: tuple[bytes, bytes, bytes | None],
    name: str,
    kind: int,
    times: tuple[int, int],
    *,
    attributes: Mapping[str, object] | None,
    events: Iterable[tuple[str, int, Mapping[str, object] | None]] = (),
    links: Iterable[tuple[bytes, bytes]] = (),
    error: str | None = None,
    scope: str = "slither",
) -> None:
    """Take a span that has ended; ``ids`` are of its trace, its own and its parent's."""
    global _dropped, _told, _since
    told: dict[str, Payload] = {
        "ids": list(ids),
        "name": clean(name, 1_024),
        "kind": kind,
        "start": times[0],
        "end": times[1],
        "attributes": _facts(attributes),
        "events": [[clean(of, 1_024), at, _facts(facts)] for of, at, facts in events],
        "links": [list(link) for link in links],
        "error": None if error is None else clean(error, _TEXT),
        "scope": clean(scope, 1_024),
    }
    with _lock:
        if _told >= _MOST:
            _dropped += 1
            return
        _told += 1
        if not _waiting:
            _since = time.monotonic_ns()
        _waiting.append(told)
        full = len(_waiting) >= _TOGETHER or time.monotonic_ns() - _since >= _WAIT_NS
    if full:
        flush()


def flush() -> None:
    """Tell BEAM of all that wait."""
    global _dropped
    link = current.link
    if link is None or not (_waiting or _dropped):
        return
    with _lock:
        spans, dropped = _waiting[:], _dropped
        _waiting.clear()
        _dropped = 0
    for at in range(0, max(1, len(spans)), _TOGETHER):
        body = _body(dropped, spans[at : at + _TOGETHER])
        dropped = 0
        # The main loop notices by itself when BEAM is gone; of a frame that is too large, it
        # need not hear.
        with suppress(OSError, ProtocolError):
            link.tell(body)


def _body(dropped: int, spans: list[dict[str, Payload]]) -> bytes:
    call = current.call_id()
    try:
        return frame(frames.SPANS, call, dropped, spans)
    except EncodeError:
        return frame(frames.SPANS, call, dropped + len(spans), [])


def _facts(attributes: Mapping[str, object] | None) -> dict[str, Payload]:
    return {clean(str(name), 1_024): _plain(value) for name, value in (attributes or {}).items()}


def _plain(value: object) -> Payload:
    if isinstance(value, str):
        return clean(value, _TEXT)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        parts: list[Any] = [_plain(part) for part in value[:_VALUES]]
        return parts
    return clean(repr(value), _TEXT)
