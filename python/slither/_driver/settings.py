"""What a program asks of a Beam, checked, and as BEAM gets it.

Pure functions, called in the thread that asks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypedDict, TypeVar

from slither import _options, _takes
from slither._rate import Rate
from slither._takes import KINDS, FrameKind
from slither._typed import functions
from slither._typed.functions import Typed, Way
from slither._types import Payload

if TYPE_CHECKING:
    from typing_extensions import Required

    from slither._pipe.options import Policy

T = TypeVar("T")
R = TypeVar("R")

StrPath = str | os.PathLike[str]
One: TypeAlias = Callable[[T], R]
"""A function of an item."""
Many: TypeAlias = (
    Callable[[list[T]], list[R]]
    | Callable[[list[T]], Iterator[R]]
    | Callable[[list[T]], Awaitable[list[R]]]
    | Callable[[list[T]], AsyncIterator[R]]
)
"""A function of a batch."""
Ordering: TypeAlias = Literal["preserve", "as_completed"]
Priority: TypeAlias = Literal["normal", "urgent"]
# The most items of a batch: a run keeps as many at hand.
_LARGEST = 1_000_000
_TRACING: _options.Check = (
    "a bool, a URL or a dict of options",
    lambda value: isinstance(value, Mapping),
)
_TRACE: _options.Check = ("a str", lambda value: isinstance(value, str))
Kept: TypeAlias = "Literal['halt', 'skip'] | Policy"
"""What becomes of items that fail in a map whose results are those that went well."""
OnError: TypeAlias = "Kept | Literal['return']"
"""What becomes of items that fail in a map."""


class MapOptions(TypedDict, total=False):
    """The options of a map beside ``on_error``: see :meth:`slither.Beam.map`."""

    batch_size: int | Literal["auto"] | None
    batch_time: float | None
    max_in_flight: int | None
    ahead_bytes: int | None
    ordering: Ordering
    isolate: bool
    timeout: float | None
    item_timeout: float | None
    session: str | None
    trace: str | None
    rate: Rate | None
    priority: Priority
    progress: bool


class Keeps(MapOptions, total=False):
    """The options of a map that gives the results that went well."""

    on_error: Kept


class Returns(MapOptions, total=False):
    """The options of a map that gives exceptions in the places of results."""

    on_error: Required[Literal["return"]]


class InFrames(MapOptions, total=False):
    """The options of a map of a function that gets a batch as one frame."""

    as_: Required[FrameKind]
    on_error: OnError


class Asked(MapOptions):
    """All options of a map, beside ``on_error``."""

    as_: FrameKind | None


class TraceOptions(TypedDict, total=False):
    """Where spans go: see :class:`slither.Beam`."""

    endpoint: str
    headers: Mapping[str, str]
    service: str
    sample: float


class Taking(NamedTuple):
    """How a call names a function by what it takes, and why items may leave a doubt of that.

    ``typed`` makes of a result what the function says that it gives.
    """

    kind: str
    doubts: Callable[[list[Payload]], str | None] | None
    typed: Typed | None


def taking(
    function: object, each: bool | None, *, several: bool, as_: FrameKind | None = None
) -> Taking:
    """Return how a call names a function that takes what ``each`` says, or ``several`` arguments.

    ``as_`` says what frame it takes. Raises ValueError for what is no answer, and TypeError where
    the function's mark says else.
    """
    _options.checked("each", each, _options.either(_options.BOOL, None))
    _options.checked("as_", as_, _options.either(_options.words(*KINDS), None))
    if _takes.checked_frame(function, as_, each) is not None:
        if several:
            raise TypeError("a frame is made of one iterable, whose items are dicts")
        return Taking("function", None, None)
    if several:
        if each is False:
            raise TypeError("each=False is for a function of a list: it takes one iterable")
        if callable(function) and _takes.is_batch(function):
            raise TypeError(_takes.not_several(function))
        return Taking("apply", None, functions.of_result(function, "item"))
    way: Way = "item"
    if callable(function):
        way = _takes.given(function, each).what
    kind = "each" if each is None else "item" if each else "function"
    return Taking(kind, _doubts(function, each), functions.of_result(function, way))


def _doubts(function: object, each: bool | None) -> Callable[[list[Payload]], str | None] | None:
    """Return what says why items leave a doubt of what a function takes; None if none can."""
    if each is not None or not callable(function):
        return None
    found = _takes.takes(function)
    if found.what == "item" or found.why != "annotations":
        return None
    return partial(_takes.doubt, function, found)


def workers(value: int | tuple[int, int]) -> tuple[int | list[int], int]:
    """Return how many workers a pool can have, as BEAM gets it, and the most of them.

    >>> workers(4), workers((1, 8))
    ((4, 4), ([1, 8], 8))
    """
    found = _options.checked("workers", value, _options.WORKERS)
    return (found, found) if isinstance(found, int) else (list(found), found[1])


def count(name: str, value: T) -> T:
    """Return a whole number of 1 or more; ValueError names what it is for."""
    return _options.checked(name, value, _options.whole(1))


def batch_size(value: int | Literal["auto"] | None) -> int | None:
    """Return the size of a map's batches, None where it is to be found.

    >>> batch_size("auto"), batch_size(7)
    (None, 7)
    """
    if value is None:
        return None
    check = _options.either(_options.whole(1, _LARGEST), "auto")
    found = _options.checked("batch_size", value, check)
    return None if isinstance(found, str) else found


def sizes(size: int | Literal["auto"] | None, time: float | None) -> dict[str, Payload]:
    """Return the options of batches as BEAM gets them; none where their size is fixed.

    >>> sizes("auto", None), sizes(7, None)
    ({'batch_size': 'auto', 'batch_time': 50}, {})
    """
    took = None if time is None else duration("batch_time", time)
    if batch_size(size) is None:
        return {"batch_size": "auto", "batch_time": 50 if took is None else took}
    if took is not None:
        raise ValueError(
            f"batch_time finds the size of batches, and batch_size={size} sets it: give one"
        )
    return {}


def trace(value: str) -> str:
    """Return a trace that can be sent."""
    return _options.checked("trace", value, _TRACE)


def tracing(value: bool | str | TraceOptions | None) -> Payload:
    """Return where spans go, as BEAM gets it.

    >>> tracing("http://localhost:4318")
    {'endpoint': 'http://localhost:4318'}
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"endpoint": value}
    _options.checked("trace", value, _TRACING)
    for name in value:
        _options.known("trace", name, TraceOptions.__annotations__)
    headers = value.get("headers", {})
    if not isinstance(headers, Mapping) or not all(
        isinstance(text, str) for pair in headers.items() for text in pair
    ):
        # Whoever reads the traceback need not know a key that is in them.
        raise ValueError("trace: headers is a dict of str")
    return {**value, "headers": dict(headers)}


def limits(rate: Rate | None, priority: str) -> dict[str, Payload]:
    """Return what a map says of its rate and priority as BEAM gets it.

    >>> limits(Rate(items=1, per=2.0), "normal")
    {'rate': {'items': 1, 'per': 2000, 'weight': 1}}
    """
    told: dict[str, Payload] = {}
    if rate is not None:
        if not isinstance(rate, Rate):
            raise ValueError(f"rate is a slither.Rate, or None, not {rate!r:.80}")
        told["rate"] = rate.document
    if one_of("priority", priority, ("normal", "urgent")) == "urgent":
        told["priority"] = "urgent"
    return told


def duration(name: str, seconds: float) -> int:
    """Return seconds above 0 as milliseconds."""
    return _options.milliseconds(_options.checked(name, seconds, _options.DURATION))


def milliseconds(name: str, seconds: float | None) -> int | None:
    """Return seconds as milliseconds, None for no limit."""
    found = _options.checked(name, seconds, _options.SECONDS)
    return None if found is None else _options.milliseconds(found)


def one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    """Return one of the known words."""
    text = f"one of {', '.join(map(repr, known))}"
    return str(_options.checked(name, value, (text, lambda given: given in known)))


def policy(on_error: OnError) -> tuple[Payload, str]:
    """Return BEAM's policy, and what becomes of items that failed for good.

    >>> from slither.pipe import retry
    >>> policy("return")
    ('skip', 'return')
    >>> policy(retry(max_attempts=2, then="skip"))
    ({'retry': {'max_attempts': 2, 'then': 'skip'}}, 'skip')
    """
    document = getattr(on_error, "document", None)
    if isinstance(document, dict) and "retry" in document:
        then = document["retry"].get("then", "halt")
        if then in ("halt", "skip"):
            return document, str(then)
        raise ValueError(
            "on_error: a map has no outputs to route to; then takes 'halt' or 'skip'"
        )
    if document is not None:
        raise ValueError("on_error: a map has no outputs to route to; use a pipe")
    word = one_of("on_error", on_error, ("halt", "skip", "return"))
    return ("halt" if word == "halt" else "skip"), word


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def program() -> dict[str, Payload]:
    """Return what the program is called by those who look in, and the number of its process."""
    called = os.path.basename(str(next(iter(getattr(sys, "argv", ())), ""))) or "python"
    # A name with bytes of another encoding, or `-c`, is none that anybody would know.
    name = called if called.isprintable() and not called.startswith("-") else "python"
    return {"pid": os.getpid(), "name": name}


def arguments() -> list[str | bytes]:
    """Return the program's own arguments, as they can be sent."""
    return [_sendable(argument) for argument in getattr(sys, "argv", ())]


def _sendable(argument: object) -> str | bytes:
    # Python turns bytes of an argument that it can't decode into lone surrogates.
    text = str(argument)
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text
