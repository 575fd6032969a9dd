"""The frames of the protocol: builders for what a worker sends, a strict parser for all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from slither._codec import decode
from slither._errors import ProtocolError

if TYPE_CHECKING:
    from slither._types import Payload

HELLO, WELCOME, READY, FAILED, CALL, RESULT, ERROR, VIEW_CALL, VIEW_REPLY = range(9)
LOG, PROGRESS, PART, PING, PONG, PIPE, SHUTDOWN, CREDIT, CANCEL = range(9, 18)

LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
FRAME_DEPTH = 1_024


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


class ViewReply(NamedTuple):
    """A view's answer."""

    id: int
    status: int
    value: Payload


class Log(NamedTuple):
    """One log record, and how many were dropped before it."""

    call: int
    level: str
    logger: str
    message: str
    dropped: int


class Progress(NamedTuple):
    """How far a call is."""

    call: int
    done: int
    total: int | None


class Part(NamedTuple):
    """Results that come before the batch's result frame."""

    id: int
    index: int
    results: list[Payload]
    errors: dict[int, dict[str, Payload]] | None


class Ping(NamedTuple):
    """A question whether the other side reads."""

    token: int


class Pong(NamedTuple):
    """The answer to a ping."""

    token: int


class Pipe(NamedTuple):
    """A pipe definition."""

    id: int
    document: dict[str, Payload]


class Shutdown(NamedTuple):
    """Finish what was received, then exit."""

    grace: int


class Credit(NamedTuple):
    """Leave to send so many more log, progress and part frames."""

    count: int


class Cancel(NamedTuple):
    """Nobody waits for this call any more."""

    id: int


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
    | Pipe
    | Shutdown
    | Credit
    | Cancel
)

Check = Callable[[object], bool]


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_id(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_map(value: object) -> bool:
    return type(value) is dict


def _is_list(value: object) -> bool:
    return type(value) is list


def _is_str(value: object) -> bool:
    return type(value) is str


def _is_any(value: object) -> bool:
    return True


def _is_flag(value: object) -> bool:
    return type(value) is int and value in (0, 1)


def _is_count_or_none(value: object) -> bool:
    return value is None or _is_count(value)


def _is_level(value: object) -> bool:
    return type(value) is str and value in LEVELS


def _is_error(value: object) -> bool:
    return type(value) is dict and _is_str(value.get("kind")) and _is_str(value.get("message"))


def _is_errors(value: object) -> bool:
    if value is None:
        return True
    return type(value) is dict and all(_is_count(k) and _is_error(v) for k, v in value.items())


def _is_target(value: object) -> bool:
    if type(value) is not list or not value or not all(map(_is_str, value)):
        return False
    return {"function": 3, "command": 2, "pipes": 2}.get(value[0]) == len(value)


def _is_context(value: object) -> bool:
    if type(value) is not dict:
        return False
    names = map(value.get, ("run", "pipe", "stage", "session"))
    return all(name is None or type(name) is str for name in names)


def _is_timing(value: object) -> bool:
    return type(value) is list and len(value) == 3 and all(map(_is_count, value))


_MAP, _ANY, _STR, _LIST = ("map", _is_map), ("any", _is_any), ("str", _is_str), ("list", _is_list)
_COUNT, _ID = ("int of 0 or more", _is_count), ("int of 1 or more", _is_id)
_MAYBE = ("int of 0 or more, or nil", _is_count_or_none)
_FLAG, _LEVEL = ("0 or 1", _is_flag), ("level", _is_level)
_ERROR, _ERRORS = ("error", _is_error), ("map of errors, or nil", _is_errors)
_TARGET, _CONTEXT = ("target", _is_target), ("map of context names", _is_context)
_TIMING = ("list of three ints", _is_timing)

TABLE: dict[int, tuple[Callable[..., Frame], tuple[tuple[str, Check], ...]]] = {
    HELLO: (Hello, (_COUNT, _MAP)),
    WELCOME: (Welcome, (_COUNT, _MAP)),
    READY: (Ready, (_MAP,)),
    FAILED: (Failed, (_ERROR,)),
    CALL: (Call, (_ID, _TARGET, _CONTEXT, _COUNT, _ID, _LIST)),
    RESULT: (Result, (_ID, _LIST, _ERRORS, _TIMING)),
    ERROR: (Error, (_COUNT, _ERROR)),
    VIEW_CALL: (ViewCall, (_COUNT, _COUNT, _STR, _FLAG, _ANY, _MAYBE)),
    VIEW_REPLY: (ViewReply, (_COUNT, _FLAG, _ANY)),
    LOG: (Log, (_COUNT, _LEVEL, _STR, _STR, _COUNT)),
    PROGRESS: (Progress, (_COUNT, _COUNT, _MAYBE)),
    PART: (Part, (_ID, _COUNT, _LIST, _ERRORS)),
    PING: (Ping, (_COUNT,)),
    PONG: (Pong, (_COUNT,)),
    PIPE: (Pipe, (_COUNT, _MAP)),
    SHUTDOWN: (Shutdown, (_COUNT,)),
    CREDIT: (Credit, (_COUNT,)),
    CANCEL: (Cancel, (_ID,)),
}


def parse(body: bytes | bytearray) -> Frame:
    """Read one frame's body, or raise :class:`DecodeError` or :class:`ProtocolError`."""
    fields = decode(body, FRAME_DEPTH)
    if type(fields) is not list or not fields:
        raise ProtocolError("a frame is an array that begins with its kind")
    kind = fields[0]
    if type(kind) is not int or kind not in TABLE:
        raise ProtocolError(f"no frame has the kind {kind!r:.40}")
    build, checks = TABLE[kind]
    name = getattr(build, "__name__", "").lower()
    if len(fields) != len(checks) + 1:
        raise ProtocolError(
            f"frame {name} (kind {kind}) has {len(checks)} fields, not {len(fields) - 1}"
        )
    for index, (wanted, check) in enumerate(checks, 1):
        if not check(fields[index]):
            field = getattr(build, "_fields", ())[index - 1]
            got = type(fields[index]).__name__
            raise ProtocolError(f"frame {name} (kind {kind}): {field} is no {wanted} but a {got}")
    return build(*fields[1:])


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
