"""The span of a call in its worker, which is current wherever the call's handler runs.

It is made by the ``opentelemetry`` package where that is installed: by the tracer provider that
the program has set, or where there is none, by one of ours, whose spans BEAM is told of. Without
the package, BEAM is told of the call's span alone. The main thread of a worker runs this; it is
loaded with the first call that is traced.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec

from slither._wire import frames
from slither._worker import current, cursors, spans

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._wire.build import Pieces
    from slither._wire.frames import Call

P = ParamSpec("P")
_PARENT = re.compile(
    "([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL
)
# Exceptions that are events of one span.
_MOST_RAISED = 8


class Parent(NamedTuple):
    """A W3C trace context."""

    trace: bytes
    span: bytes
    flags: int

    @property
    def sampled(self) -> bool:
        """Whether its spans are recorded."""
        return self.flags & 1 == 1


def parent_of(text: object) -> Parent | None:
    """Read a ``traceparent``; None where it is none.

    >>> parent_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").sampled
    True
    """
    found = _PARENT.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    trace, span = bytes.fromhex(found[2]), bytes.fromhex(found[3])
    return Parent(trace, span, int(found[4], 16)) if any(trace) and any(span) else None


class Span:
    """A span of which BEAM is told, made without ``opentelemetry``."""

    def __init__(
        self, parent: Parent, name: str, start: int, attributes: dict[str, Payload]
    ) -> None:
        self.context = Parent(parent.trace, spans.fresh(8), parent.flags)
        self._parent, self._name, self._start = parent, name, start
        self._attributes = attributes
        self._events: list[tuple[str, int, dict[str, Payload]]] = []
        self._error: str | None = None

    def set_attribute(self, name: str, value: Payload) -> None:
        """Add a fact."""
        self._attributes[name] = value

    def add_event(self, name: str, attributes: dict[str, Payload]) -> None:
        """Add what happened now."""
        self._events.append((name, time.time_ns(), attributes))

    def fail(self, message: str) -> None:
        """Have it be an error."""
        self._error = message

    def end(self) -> None:
        """End it."""
        ids = self.context.trace, self.context.span, self._parent.span
        times = self._start, time.time_ns()
        facts, events = self._attributes, self._events
        spans.add(
            ids,
            self._name,
            spans.SERVER,
            times,
            attributes=facts,
            events=events,
            error=self._error,
        )


def _harmless(
    method: Callable[Concatenate[Serving, P], None],
) -> Callable[Concatenate[Serving, P], None]:
    # What a provider, a sampler or a processor of the program's raises is no fault of the call.
    @functools.wraps(method)
    def harmless(self: Serving, /, *args: P.args, **named: P.kwargs) -> None:
        try:
            method(self, *args, **named)
        except Exception:
            logging.getLogger("slither").exception("the span of a call could not be recorded")

    return harmless


class Serving:
    """One call that is traced: its span, from when its handler is found to its answer."""

    def __init__(self, call: Call, parent: Parent) -> None:
        """Take the call; its span begins now."""
        self._call, self._parent = call, parent
        self._start = time.time_ns()
        self._span: Any = None
        self._leave: Callable[[], object] | None = None
        self._begun = False
        self._raised: list[str] = []
        spans.begin()

    @_harmless
    def begin(self) -> None:
        """Have the span be the current one: what the call's module does at import is done."""
        if self._begun:
            return
        self._begun = True
        name = _name(self._call)
        attributes = _attributes(self._call, name)
        library = _library()
        if library is not None:
            self._span, self._leave = library.enter(self._parent, name, self._start, attributes)
        elif self._parent.sampled and current.takes_spans:
            self._span = Span(self._parent, name, self._start, attributes)

    @_harmless
    def raised(self, error: BaseException, fault: dict[str, Payload]) -> None:
        """Take an exception of the handler's, and what is told of it."""
        kind = type(error)
        own = kind.__module__ in ("builtins", "__main__")
        name = kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"
        self._raised.append(name)
        if self._span is not None and len(self._raised) <= _MOST_RAISED:
            facts = {
                "exception.type": name,
                "exception.message": fault["message"],
                "exception.stacktrace": fault["traceback"],
            }
            self._span.add_event("exception", facts)

    @_harmless
    def end(self, answer: Pieces) -> None:
        """End the span with the call's answer, and tell BEAM of those that it is to have."""
        self.begin()
        span = self._span
        try:
            self._say(span, answer)
        finally:
            if self._leave is not None:
                self._leave()
        if span is not None:
            span.end()
        spans.flush()

    def _say(self, span: Any, answer: Pieces) -> None:
        items = len(self._call.items)
        if span is not None:
            fault = _fault(answer)
            if fault is not None or len(self._raised) >= items:
                message = fault["message"] if fault is not None else "all items have failed"
                known = self._raised[-1] if self._raised else "error"
                if fault is not None and fault["kind"] != "exception":
                    known = fault["kind"]
                span.set_attribute("error.type", known)
                span.fail(message)
            elif self._raised:
                span.set_attribute("slither.items.failed", len(self._raised))


def serving(call: Call) -> Serving | None:
    """Return what follows a call; None where it has no trace that is one."""
    parent = parent_of(call.context.get("trace"))
    if parent is None:
        return None
    made = Serving(call, parent)
    # Known before the handler's module is imported, which may set a provider of its own.
    if _known is not None:
        made.begin()
    return made


def _fault(answer: Pieces) -> dict[str, Payload] | None:
    if len(answer) > 1 or answer[0][1] != frames.ERROR:
        return None
    got = frames.parse(bytes(answer[0]))
    return got.error if isinstance(got, frames.Error) else None


def _name(call: Call) -> str:
    target = call.target
    if target[0] in ("more", "drop"):
        target = cursors.target_of(target[1]) or target
    if target[1:] == ["slither._worker.named", "call"] and call.items:
        # What the item says may not be read yet, but its names are plain.
        module, name = call.items[0][0][:2]
        return f"{module}.{name}"
    if target[0] == "command":
        return str(target[1])
    return ".".join(map(str, target[1:])) if len(target) == 3 else " ".join(map(str, target))


def _attributes(call: Call, name: str) -> dict[str, Payload]:
    found: dict[str, Payload] = {
        "rpc.system.name": "slither",
        "rpc.method": name,
        "slither.batch": call.batch,
        "slither.attempt": call.attempt,
        "slither.items": len(call.items),
        "process.pid": os.getpid(),
    }
    for key in ("run", "pipe", "stage", "session"):
        if (value := call.context.get(key)) is not None:
            found[f"slither.{key}"] = value
    return found


## The package


class _Failing:
    """A span of the package's, with the one thing that ours says in other words."""

    def __init__(self, span: Any, failed: Any) -> None:
        self._failed = failed
        self.set_attribute, self.add_event, self.end = (
            span.set_attribute,
            span.add_event,
            span.end,
        )
        self._set_status = span.set_status

    def fail(self, message: str) -> None:
        self._set_status(self._failed, message)


class _Library:
    """The package's API, and which of its providers makes the spans of calls."""

    def __init__(self) -> None:
        self._api: Any = importlib.import_module("opentelemetry.trace")
        self._context: Any = importlib.import_module("opentelemetry.context")
        provider: Any = self._api.get_tracer_provider()
        self._records = not isinstance(provider, self._api.ProxyTracerProvider)
        if not self._records and current.takes_spans and (made := _provider()) is not None:
            self._api.set_tracer_provider(made)
            self._records = True
        self._tracer: Any = self._api.get_tracer("slither")

    def enter(
        self, parent: Parent, name: str, start: int, attributes: dict[str, Payload]
    ) -> tuple[Any, Callable[[], object]]:
        """Begin a span and have it be current; return it, and what leaves it."""
        api = self._api
        made: Any = None
        ended: Any = None
        above = api.set_span_in_context(self._remote(parent), self._context.Context())
        if self._records:
            options = {"kind": api.SpanKind.SERVER, "attributes": attributes, "start_time": start}
            span = self._tracer.start_span(name, above, **options)
            ended = _Failing(span, api.StatusCode.ERROR)
        elif parent.sampled and current.takes_spans:
            ended = made = Span(parent, name, start, attributes)
            span = self._remote(made.context, False)
        else:
            span = self._remote(parent)
        token = self._context.attach(api.set_span_in_context(span))
        current.carry = self._carry

        def leave() -> None:
            current.carry = None
            self._context.detach(token)

        return ended, leave

    def _remote(self, parent: Parent, remote: bool = True) -> Any:
        api = self._api
        ids = (int.from_bytes(part, "big") for part in parent[:2])
        flags = api.TraceFlags(parent.flags & 1)
        return api.NonRecordingSpan(api.SpanContext(*ids, remote, flags))

    def _carry(self, run: Callable[..., object]) -> Callable[..., object]:
        # What is current belongs to the thread, and a new one begins with nothing.
        context, held = self._context, self._context.get_current()

        def run_with(*args: object, **options: object) -> object:
            token = context.attach(held)
            try:
                return run(*args, **options)
            finally:
                context.detach(token)

        return run_with


_known: _Library | bool | None = None


def _library() -> _Library | None:
    global _known
    if _known is None:
        try:
            _known = _Library()
        except ImportError:
            _known = False
        except Exception:
            # A provider that the environment names, say. Told once, here.
            _known = False
            raise
    return None if isinstance(_known, bool) else _known


def _provider() -> Any:
    try:
        from slither._worker import sdk
    except ImportError:
        # The API is there alone.
        return None
    return sdk.provider()
