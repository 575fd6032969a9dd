"""Every frame of the protocol as a record, and the strict parser of what comes.

Pure: a worker, a program and tests parse with it in whatever thread reads, and
:mod:`slither._wire.build` encodes. Frames of the kinds 0 to 31 go between a worker and BEAM;
between a program and BEAM go those of 32 and more, which stand in :mod:`slither._wire.driving`,
and some of the others. The annotation of a
field is its check; ``protocol/PROTOCOL.md`` says who sends which frame, and when.
"""

from collections.abc import Container
from typing import NamedTuple, TypeAlias

from slither._errors import DecodeError, ProtocolError
from slither._types import Payload
from slither._wire import checks as c
from slither._wire.codec import PLAIN, Codec, decode_frame
from slither._wire.driving import (
    Done,
    End,
    Feed,
    Kill,
    More,
    Outputs,
    Request,
    Start,
    Take,
    Trace,
)
from slither._wire.glance import kind_and_id

HELLO, WELCOME, READY, FAILED, CALL, RESULT, ERROR, VIEW_CALL, VIEW_REPLY = range(9)
LOG, PROGRESS, PART, PING, PONG = range(9, 14)
SHUTDOWN, CREDIT, CANCEL, TABLE_CALL, SESSION, METRICS, SPANS = range(15, 22)
MODULES = 27
START, FEED, MORE, TAKE, END, OUTPUTS, DONE, REQUEST, KILL, TRACE = range(32, 42)

Frame: TypeAlias = tuple[Payload, ...]
"""Any record of this module."""
Answer: TypeAlias = tuple[int, Payload]
"""The status and the value of a view reply."""


class Hello(NamedTuple):
    """The worker's first words."""

    version: c.Count
    facts: c.Map


class Welcome(NamedTuple):
    """BEAM's answer to a hello."""

    version: c.Count
    settings: c.Map


class Ready(NamedTuple):
    """The worker takes calls from now on."""

    facts: c.Map


class Failed(NamedTuple):
    """The worker could not start."""

    error: c.Error


class Call(NamedTuple):
    """One batch for one handler."""

    id: c.Id
    target: c.Target
    context: c.Context
    batch: c.Count
    attempt: c.Id
    items: c.List


class Result(NamedTuple):
    """One value for each item of a call."""

    id: c.Id
    results: c.List
    errors: c.Errors
    timing: c.Timing


class Error(NamedTuple):
    """The whole batch failed."""

    id: c.Count
    error: c.Error


class ViewCall(NamedTuple):
    """A question to a view."""

    id: c.Count
    call: c.Count
    name: c.Str
    mode: c.Flag
    params: c.Anything
    timeout: c.MaybeCount


class ViewReply(NamedTuple):
    """A view's answer, or a table's."""

    id: c.Count
    status: c.Flag
    value: c.Anything


class Log(NamedTuple):
    """One log record, how many were dropped before it, and where it was made."""

    call: c.Count
    level: c.Level
    logger: c.Str
    message: c.Str
    dropped: c.Count
    facts: c.Facts = None


class Progress(NamedTuple):
    """How far a call is."""

    call: c.Count
    done: c.Count
    total: c.MaybeCount


class Part(NamedTuple):
    """Results that come before the batch's result frame."""

    id: c.Id
    index: c.Count  # type: ignore[assignment]
    results: c.List
    errors: c.Errors


class Ping(NamedTuple):
    """A question whether the other side reads."""

    token: c.Count


class Pong(NamedTuple):
    """The answer to a ping."""

    token: c.Count


class Shutdown(NamedTuple):
    """Finish what was received, then exit."""

    grace: c.Count


class Credit(NamedTuple):
    """Leave to send so many more results of a call in parts, or log and progress frames."""

    id: c.Count
    count: c.Count  # type: ignore[assignment]


class Cancel(NamedTuple):
    """Nobody waits for this call any more."""

    id: c.Id


class TableCall(NamedTuple):
    """An operation on a table."""

    id: c.Count
    call: c.Count
    table: c.Str
    op: c.Str
    arguments: c.List


class Session(NamedTuple):
    """The worker holds state of a call's run."""

    call: c.Id
    run: c.Str


class Metrics(NamedTuple):
    """What handlers have counted since that was last told."""

    call: c.Count
    rows: c.Metrics


class Spans(NamedTuple):
    """Spans that have ended in a worker, and how many were dropped before them."""

    call: c.Count
    dropped: c.Count
    spans: c.List


class Modules(NamedTuple):
    """Modules of the project that the worker has imported, with what their files held."""

    modules: c.Modules


RECORDS: dict[int, type[Frame]] = {
    HELLO: Hello,
    WELCOME: Welcome,
    READY: Ready,
    FAILED: Failed,
    CALL: Call,
    RESULT: Result,
    ERROR: Error,
    VIEW_CALL: ViewCall,
    VIEW_REPLY: ViewReply,
    LOG: Log,
    PROGRESS: Progress,
    PART: Part,
    PING: Ping,
    PONG: Pong,
    SHUTDOWN: Shutdown,
    CREDIT: Credit,
    CANCEL: Cancel,
    TABLE_CALL: TableCall,
    SESSION: Session,
    METRICS: Metrics,
    SPANS: Spans,
    MODULES: Modules,
    START: Start,
    FEED: Feed,
    MORE: More,
    TAKE: Take,
    END: End,
    OUTPUTS: Outputs,
    DONE: Done,
    REQUEST: Request,
    KILL: Kill,
    TRACE: Trace,
}
WORKER_KINDS = range(START)
"""Kinds of the frames between a worker and BEAM."""
_Rules: TypeAlias = list[tuple[str, c.Rule]]
_RULES: dict[int, _Rules] = {
    kind: [(name, kept.__metadata__[0]) for name, kept in record.__annotations__.items()]
    for kind, record in RECORDS.items()
}


def head(kind: int) -> bytes:
    """Return what each frame of a kind begins with: the head of the array, and the kind."""
    return bytes((0x91 + len(_RULES[kind]), kind))


_CALL_HEAD, _REPLY_HEAD, _OUTPUTS_HEAD = head(CALL), head(VIEW_REPLY), head(OUTPUTS)


def parse(body: bytes | bytearray, codec: Codec = PLAIN) -> Frame:
    """Read a frame between a worker and BEAM, or raise DecodeError or ProtocolError."""
    fields = codec.decode_frame(body)
    if body[:2] == _CALL_HEAD:
        # Calls are frequent: the same checks as in _build, without the loop.
        _, identity, target, context, batch, attempt, items = fields
        if (
            (type(identity) is type(batch) is type(attempt) is int)
            and (identity > 0 and batch >= 0 and attempt > 0)
            and (type(items) is list and c.is_target(target) and c.is_context(context))
        ):
            return Call(identity, target, context, batch, attempt, items)
    return _build(fields, WORKER_KINDS)


def parse_any(body: bytes | bytearray) -> Frame:
    """Read a frame between a program and BEAM, or raise as :func:`parse` does."""
    fields = decode_frame(body)
    if body[:2] == _OUTPUTS_HEAD:
        # Outputs are as frequent as calls.
        _, identity, output, first, count, values, errors = fields
        if (
            (type(identity) is type(first) is type(count) is int)
            and (identity > 0 and first >= 0 and count > 0)
            and (output is None and errors is None and type(values) is bytes)
        ):
            return Outputs(identity, None, first, count, values, None)
    return _build(fields, RECORDS)


def _build(fields: Payload, kinds: Container[int]) -> Frame:
    if type(fields) is not list or not fields:
        raise ProtocolError("a frame is an array that begins with its kind")
    kind = fields[0]
    if type(kind) is not int or kind not in kinds or kind not in RECORDS:
        # The repr of any value may nest too deep, have too many digits, or be long.
        plain = type(kind) is int and abs(kind) < 1 << 64
        shown = kind if plain else f"of type {type(kind).__name__}"
        raise ProtocolError(f"no frame has the kind {shown}")
    record, rules = RECORDS[kind], _RULES[kind]
    if len(fields) == len(rules) + 1:
        for index, (name, rule) in enumerate(rules, 1):
            if not rule.check(fields[index]):
                got = type(fields[index]).__name__
                raise _refused(kind, f": {name} is no {rule.words} but a {got}")
        return record(*fields[1:])
    raise _refused(kind, f" has {len(rules)} fields, not {len(fields) - 1}")


def _refused(kind: int, why: str) -> ProtocolError:
    return ProtocolError(f"frame {RECORDS[kind].__name__.lower()} (kind {kind}){why}")


def parse_reply(body: bytes | bytearray, codec: Codec = PLAIN) -> tuple[int, int, Payload] | None:
    """Read a view reply's id, status and value; None for any other frame.

    The same checks as :func:`parse` makes, without what they cost there: a handler waits. Of one
    whose value is none for this process, such as an object by value, it makes an error for
    whoever asked.
    """
    if body[:2] != _REPLY_HEAD:
        return None
    try:
        _, identity, status, value = codec.decode_frame(body)
    except DecodeError as error:
        identity = kind_and_id(body)[1]
        if not identity:
            raise
        return identity, 1, {"kind": "not_decodable", "message": f"the answer: {error}"}
    if (
        type(identity) is not int
        or identity < 0
        or type(status) is not int
        or not 0 <= status <= 1
    ):
        parse(body, codec)
    return identity, status, value
