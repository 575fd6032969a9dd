"""The frames between a program that drives BEAM and BEAM, as records.

Pure: :mod:`slither._wire.frames` parses them, as it does those between a worker and BEAM.
"""

from typing import NamedTuple

from slither._wire import checks as c


class Start(NamedTuple):
    """Begin a run of a kind."""

    id: c.Id
    kind: c.Str
    spec: c.Map


class Feed(NamedTuple):
    """Items of a run, one encoded value after the other; ``first`` is the number of the first."""

    id: c.Id
    first: c.Count
    count: c.Id  # type: ignore[assignment]
    items: c.Bytes


class More(NamedTuple):
    """Leave to feed so many more frames."""

    id: c.Id
    count: c.Count  # type: ignore[assignment]


class Take(NamedTuple):
    """Leave to send so many more outputs."""

    id: c.Id
    count: c.Count  # type: ignore[assignment]


class End(NamedTuple):
    """A run's input has ended."""

    id: c.Id


class Outputs(NamedTuple):
    """Consecutive values of one output, encoded, and the errors of those that failed."""

    id: c.Id
    output: c.MaybeStr
    first: c.Count
    count: c.Id  # type: ignore[assignment]
    values: c.Bytes
    errors: c.Errors


class Done(NamedTuple):
    """The last frame of a run: its account, and the error that ended it."""

    id: c.Id
    receipt: c.Map
    error: c.MaybeError


class Request(NamedTuple):
    """A question beside runs and tables, by name; a view_reply answers it."""

    id: c.Id
    name: c.Str
    arguments: c.Map


class Kill(NamedTuple):
    """The end of the batch of a map run that begins with item ``first``, whatever it takes."""

    id: c.Id
    first: c.Count


class Trace(NamedTuple):
    """What the call of the next feed of a run is below, a ``traceparent``."""

    id: c.Id
    first: c.Count
    trace: c.Str
