"""The frames between a driver and BEAM: the chapter on drivers of ``protocol/PROTOCOL.md``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from slither._types import Payload
from slither._wire import checks as c
from slither._wire import frames as worker
from slither._wire.codec import decode_frame
from slither._worker.results import frame

START, FEED, MORE, TAKE, END, OUTPUTS, DONE, REQUEST, KILL = range(32, 41)


class Start(NamedTuple):
    """Begin a run of a kind."""

    id: int
    kind: str
    spec: dict[str, Payload]


class Feed(NamedTuple):
    """Items of a run, one encoded value after the other; ``first`` is the number of the first."""

    id: int
    first: int
    count: int  # type: ignore[assignment]
    items: bytes


class More(NamedTuple):
    """Leave to feed so many more frames."""

    id: int
    count: int  # type: ignore[assignment]


class Take(NamedTuple):
    """Leave to send so many more outputs."""

    id: int
    count: int  # type: ignore[assignment]


class End(NamedTuple):
    """A run's input has ended."""

    id: int


class Outputs(NamedTuple):
    """Consecutive values of one output, encoded, and the errors of those that failed."""

    id: int
    output: str | None
    first: int
    count: int  # type: ignore[assignment]
    values: bytes
    errors: dict[int, dict[str, Payload]] | None


class Done(NamedTuple):
    """The last frame of a run: its account, and the error that ended it."""

    id: int
    receipt: dict[str, Payload]
    error: dict[str, Payload] | None


class Request(NamedTuple):
    """A question beside runs and tables, by name; a view_reply answers it."""

    id: int
    name: str
    arguments: dict[str, Payload]


class Kill(NamedTuple):
    """The end of the batch of a map run that begins with item ``first``, whatever it takes."""

    id: int
    first: int


Frame = Start | Feed | More | Take | End | Outputs | Done | Request | Kill

BYTES = ("bytes", lambda value: type(value) is bytes)
MAYBE_STR = ("str, or nil", lambda value: value is None or type(value) is str)
MAYBE_ERROR = ("error, or nil", lambda value: value is None or c.ERROR[1](value))

TABLE: dict[int, tuple[Callable[..., Frame], worker.Checks]] = {
    START: (Start, (c.ID, c.STR, c.MAP)),
    FEED: (Feed, (c.ID, c.COUNT, c.ID, BYTES)),
    MORE: (More, (c.ID, c.COUNT)),
    TAKE: (Take, (c.ID, c.COUNT)),
    END: (End, (c.ID,)),
    OUTPUTS: (Outputs, (c.ID, MAYBE_STR, c.COUNT, c.ID, BYTES, c.ERRORS)),
    DONE: (Done, (c.ID, c.MAP, MAYBE_ERROR)),
    REQUEST: (Request, (c.ID, c.STR, c.MAP)),
    KILL: (Kill, (c.ID, c.COUNT)),
}


_ALL: dict[int, tuple[Callable[..., Frame | worker.Frame], worker.Checks]] = {
    **worker.TABLE,
    **TABLE,
}


# How many bytes an unsigned integer has behind its first.
_UINTS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_OUTPUTS_HEAD = bytes((0x97, OUTPUTS))


def parse(body: bytes) -> Frame | worker.Frame:
    """Read one frame's body, or raise as :func:`slither._wire.frames.parse` does."""
    fields = decode_frame(body)
    if body[:2] == _OUTPUTS_HEAD:
        # The same checks as below, without what they cost there, for what is frequent.
        _, identity, output, first, count, values, errors = fields
        if (
            (type(identity) is type(first) is type(count) is int)
            and (identity > 0 and first >= 0 and count > 0)
            and (output is None and errors is None and type(values) is bytes)
        ):
            return Outputs(identity, None, first, count, values, None)
    return worker.build(fields, _ALL)


def head(body: bytes) -> tuple[int, int]:
    """Read the kind and the id of a frame without the rest; -1 and 0 where they are not plain.

    >>> head(frame(MORE, 300, 1))
    (34, 300)
    """
    if len(body) < 3 or body[0] & 0xF0 != 0x90:
        return -1, 0
    kind, first = body[1], body[2]
    if first < 0x80:
        return kind, first
    size = _UINTS.get(first, 0)
    return kind, int.from_bytes(body[3 : 3 + size], "big")


def end(identity: int) -> bytes:
    """Build an end frame."""
    return frame(END, identity)
