"""The frames of the protocol: builders for what a worker sends, a strict parser for all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from slither._errors import ProtocolError
from slither._types import Payload
from slither._wire import checks as c
from slither._wire.codec import decode_frame

HELLO, WELCOME, READY, FAILED, CALL, RESULT, ERROR, VIEW_CALL, VIEW_REPLY = range(9)
LOG, PROGRESS, PART, PING, PONG = range(9, 14)
SHUTDOWN, CREDIT, CANCEL, TABLE_CALL, SESSION = range(15, 20)

Answer = tuple[int, Payload]
"""The status and the value of a view reply."""

_REPLY_HEAD = bytes((0x94, VIEW_REPLY))
_CALL_HEAD = bytes((0x97, CALL))


class Hello(NamedTuple):
    """The worker's first words."""

    version: int
    facts: dict[str, Payload]


class Welcome(NamedTuple):
    """BEAM's answer to a hello."""

    version: int
    settings: dict[str, Payload]


class Ready(NamedTuple):
    """The worker takes calls from now on."""

    facts: dict[str, Payload]


class Failed(NamedTuple):
    """The worker could not start."""

    error: dict[str, Payload]


class Call(NamedTuple):
    """One batch for one handler."""

    id: int
    target: list[str]
    context: dict[str, Payload]
    batch: int
    attempt: int
    items: list[Payload]


class Result(NamedTuple):
    """One value for each item of a call."""

    id: int
    results: list[Payload]
    errors: dict[int, dict[str, Payload]] | None
    timing: list[int]


class Error(NamedTuple):
    """The whole batch failed."""

    id: int
    error: dict[str, Payload]


class ViewCall(NamedTuple):
    """A question to a view."""

    id: int
    call: int
    name: str
    mode: int
    params: Payload
    timeout: int | None


class TableCall(NamedTuple):
    """An operation on a table."""

    id: int
    call: int
    table: str
    op: str
    arguments: list[Payload]


class ViewReply(NamedTuple):
    """A view's answer, or a table's."""

    id: int
    status: int
    value: Payload


class Log(NamedTuple):
    """One log record, how many were dropped before it, and where it was made."""

    call: int
    level: str
    logger: str
    message: str
    dropped: int
    facts: dict[str, Payload] | None = None


class Progress(NamedTuple):
    """How far a call is."""

    call: int
    done: int
    total: int | None


class Part(NamedTuple):
    """Results that come before the batch's result frame."""

    id: int
    index: int  # type: ignore[assignment]
    results: list[Payload]
    errors: dict[int, dict[str, Payload]] | None


class Ping(NamedTuple):
    """A question whether the other side reads."""

    token: int


class Pong(NamedTuple):
    """The answer to a ping."""

    token: int


class Shutdown(NamedTuple):
    """Finish what was received, then exit."""

    grace: int


class Credit(NamedTuple):
    """Leave to send so many more results of a call in parts, or log and progress frames."""

    id: int
    count: int  # type: ignore[assignment]


class Cancel(NamedTuple):
    """Nobody waits for this call any more."""

    id: int


class Session(NamedTuple):
    """The worker holds state of a call's run."""

    call: int
    run: str


Frame = (
    Hello
    | Welcome
    | Ready
    | Failed
    | Call
    | Result
    | Error
    | ViewCall
    | ViewReply
    | Log
    | Progress
    | Part
    | Ping
    | Pong
    | Shutdown
    | Credit
    | Cancel
    | TableCall
    | Session
)

Checks = tuple[tuple[str, c.Check], ...]
_F = TypeVar("_F")

TABLE: dict[int, tuple[Callable[..., Frame], Checks]] = {
    HELLO: (Hello, (c.COUNT, c.MAP)),
    WELCOME: (Welcome, (c.COUNT, c.MAP)),
    READY: (Ready, (c.MAP,)),
    FAILED: (Failed, (c.ERROR,)),
    CALL: (Call, (c.ID, c.TARGET, c.CONTEXT, c.COUNT, c.ID, c.LIST)),
    RESULT: (Result, (c.ID, c.LIST, c.ERRORS, c.TIMING)),
    ERROR: (Error, (c.COUNT, c.ERROR)),
    VIEW_CALL: (ViewCall, (c.COUNT, c.COUNT, c.STR, c.FLAG, c.ANYTHING, c.MAYBE)),
    VIEW_REPLY: (ViewReply, (c.COUNT, c.FLAG, c.ANYTHING)),
    LOG: (Log, (c.COUNT, c.LEVEL, c.STR, c.STR, c.COUNT, c.FACTS)),
    PROGRESS: (Progress, (c.COUNT, c.COUNT, c.MAYBE)),
    PART: (Part, (c.ID, c.COUNT, c.LIST, c.ERRORS)),
    PING: (Ping, (c.COUNT,)),
    PONG: (Pong, (c.COUNT,)),
    SHUTDOWN: (Shutdown, (c.COUNT,)),
    CREDIT: (Credit, (c.COUNT, c.COUNT)),
    CANCEL: (Cancel, (c.ID,)),
    TABLE_CALL: (TableCall, (c.COUNT, c.COUNT, c.STR, c.STR, c.LIST)),
    SESSION: (Session, (c.ID, c.STR)),
}


def parse(body: bytes | bytearray) -> Frame:
    """Read one frame's body, or raise :class:`DecodeError` or :class:`ProtocolError`."""
    fields = decode_frame(body)
    if body[:2] == _CALL_HEAD:
        # The same checks as below, without what they cost there, for what is frequent.
        _, identity, target, context, batch, attempt, items = fields
        if (
            (type(identity) is type(batch) is type(attempt) is int)
            and (identity > 0 and batch >= 0 and attempt > 0)
            and (type(items) is list and c.TARGET[1](target) and c.CONTEXT[1](context))
        ):
            return Call(identity, target, context, batch, attempt, items)
    return build(fields, TABLE)


def build(fields: Payload, table: Mapping[int, tuple[Callable[..., _F], Checks]]) -> _F:
    """Make the frame of decoded fields that a table knows, or raise :class:`ProtocolError`."""
    if type(fields) is not list or not fields:
        raise ProtocolError("a frame is an array that begins with its kind")
    kind = fields[0]
    if type(kind) is not int or kind not in table:
        # A repr may nest too deep, have too many digits, and need not be short.
        plain = type(kind) is int and abs(kind) < 1 << 64
        shown = kind if plain else f"of type {type(kind).__name__}"
        raise ProtocolError(f"no frame has the kind {shown}")
    make, checks = table[kind]
    if len(fields) == len(checks) + 1:
        for index, (_, check) in enumerate(checks, 1):
            if not check(fields[index]):
                raise ProtocolError(_mistyped(fields, index, make, checks))
        return make(*fields[1:])
    name = getattr(make, "__name__", "").lower()
    raise ProtocolError(
        f"frame {name} (kind {kind}) has {len(checks)} fields, not {len(fields) - 1}"
    )


def _mistyped(
    fields: list[Payload], index: int, make: Callable[..., object], checks: Checks
) -> str:
    name = getattr(make, "__name__", "").lower()
    field = getattr(make, "_fields", ())[index - 1]
    got = type(fields[index]).__name__
    wanted = checks[index - 1][0]
    return f"frame {name} (kind {fields[0]}): {field} is no {wanted} but a {got}"


def parse_reply(body: bytes | bytearray) -> tuple[int, int, Payload] | None:
    """Read a view reply's id, status and value; None for any other frame.

    The same checks as :func:`parse` makes, without what they cost there: a handler waits.
    """
    if body[:2] != _REPLY_HEAD:
        return None
    _, identity, status, value = decode_frame(body)
    if (
        type(identity) is not int
        or identity < 0
        or type(status) is not int
        or not 0 <= status <= 1
    ):
        parse(body)
    return identity, status, value


def peek(body: bytes | bytearray) -> tuple[int | None, int]:
    """Read the kind and the id of a frame that can't be parsed; None and 0 where it has none."""
    from msgpack import Unpacker

    head = Unpacker()
    head.feed(bytes(body[:64]))
    try:
        if head.read_array_header() < 2:
            return None, 0
        kind, identity = head.unpack(), head.unpack()
    except Exception:  # noqa: BLE001 - any bytes may stand here, and nothing depends on why
        return None, 0
    if type(kind) is not int or type(identity) is not int or not 0 < identity < 1 << 64:
        return None, 0
    return kind, identity
