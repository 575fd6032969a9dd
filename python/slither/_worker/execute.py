"""One call: run what its target names, and turn whatever happens into an answer.

The main thread of a worker runs this for each call; so do :mod:`slither.replay` and
:func:`slither.testing.run_handler`, which have no line to BEAM.
"""

from __future__ import annotations

import time
import types
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

from slither._wire import build
from slither._wire.build import Pieces
from slither._wire.faults import describe
from slither._worker import (
    current,
    drawing,
    fitted,
    forked,
    given,
    reads,
    registry,
    signals,
    timed,
)
from slither._worker.errors_out import exception_error
from slither._worker.failure import BatchError, Raised
from slither._worker.results import encode_result
from slither._worker.targets import TargetError, resolve
from slither._worker.watcher import watching
from slither._worker.yielded import Stream, TooManyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slither._types import Payload
    from slither._wire.frames import Call
    from slither._worker.coroutines import Turn
    from slither._worker.ports import Line


def answer(
    call: Call,
    decode_us: int,
    max_frame: int,
    line: Line | None = None,
    handler: Callable[..., Payload] | None = None,
) -> Pieces:
    """Run one call and build the frame that answers it; never raises.

    ``decode_us`` is what reading it took, in microseconds. By ``line`` results go early, and
    cancels come. ``handler`` is what to run in place of what the call's target names.
    """
    if drawing.draws(call):
        return drawing.answer(call, decode_us, max_frame, line, handler)
    try:
        with signals.Running():
            handler = handler or resolve(call.target)
            if current.serving is not None:
                current.serving.begin()
            reads.settle(call, handler)
            began = time.perf_counter_ns()
            results = _run(handler, call, line)
        if type(results) is not list and isinstance(results, Generator | AsyncGenerator):
            eager = bool(call.context.get("item_timeout"))
            stream = Stream(call.id, len(call.items), max_frame, line, eager)
            return _stream(results, stream, line, began, decode_us)
        handler_us = (time.perf_counter_ns() - began) // 1_000
        wrong = _check(results, len(call.items))
        if wrong is not None:
            if wrong["kind"] == "not_a_list" and given.is_unsaid(call, handler):
                wrong["gave"] = "list"
            return (build.error(call.id, wrong),)
        return encode_result(call.id, results, decode_us, handler_us, max_frame)
    except (TargetError, BatchError) as error:
        return (build.error(call.id, error.error),)
    # A handler's sys.exit() fails its batch; only BEAM ends a worker.
    except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
        forked.end(error)
        return (build.error(call.id, given.told_of_list(error, call, handler), max_frame),)


def _run(handler: Callable[..., Payload], call: Call, line: Line | None) -> Payload:
    opens = current.opener(call)
    if call.target[0] == "apply":
        return _run_items(fitted.opening(fitted.called(handler), opens), call, line)
    frame = given.frame(call, handler)
    if frame is not None:
        # Imported late, as most workers get no frames, and are to start soon.
        from slither._worker import tabular

        handler = tabular.of_items(handler, frame)
    elif at_once := given.at_once(call, handler):
        tell = given.teller(call, handler)
        handler = fitted.opening(fitted.one(handler), opens)
        return _run_items(handler, call, line, at_once, tell)
    else:
        handler = fitted.several(handler)
    handler = fitted.opening_all(handler, opens)
    if call.context.get("item_timeout"):
        timed.begin(timed.LIST, time.monotonic_ns())
    results = handler(call.items)
    forked.end()
    if type(results) is not list and _is_awaitable(results):
        return _turn(call.id, line).run(results)
    return results


def _run_items(
    handler: Callable[..., Payload],
    call: Call,
    line: Line | None,
    at_once: int = registry.CONCURRENCY,
    tell: Callable[[BaseException], dict[str, Payload]] = exception_error,
) -> Payload:
    if call.context.get("item_timeout") and call.items:
        return _run_in_time(handler, call, line, at_once, tell)
    results: list[Payload] = []
    plain: type | None = None
    for item in call.items:
        try:
            result = handler(item)
        except BaseException as error:  # noqa: BLE001 - as above, for one item
            forked.end(error)
            result = Raised(tell(error))
        forked.end()
        # Most results have the same type as the one before, which needs no second check.
        if type(result) is not plain:
            if _is_awaitable(result):
                rest = call.items[len(results) :]
                return results + _turn(call.id, line).items(handler, rest, result, at_once, tell)
            plain = type(result)
        results.append(result)
    return results


def _run_in_time(
    handler: Callable[..., Payload],
    call: Call,
    line: Line | None,
    at_once: int,
    tell: Callable[[BaseException], dict[str, Payload]],
) -> Generator[Payload, None, None] | AsyncGenerator[Payload, None]:
    # Results go early, as a handler's do that yields: BEAM ends the worker when an item is over
    # its time, and those before it are not to be lost.
    results = timed.one_by_one(handler, call.items, tell)
    first = next(results)
    if _is_awaitable(first):
        results.close()
        limit = call.context["item_timeout"]
        turn = _turn(call.id, line)
        return turn.in_time(handler, call.items, first, at_once, tell=tell, limit=limit)
    return _behind(first, results)


def _behind(
    first: Payload, others: Generator[Payload, None, None]
) -> Generator[Payload, None, None]:
    yield first
    yield from others


def _is_awaitable(value: object) -> bool:
    return hasattr(type(value), "__await__")


def _turn(call: int, line: Line | None) -> Turn:
    # Imported late, as asyncio costs start-up time and memory that most workers need not pay.
    from slither._worker.coroutines import Turn

    return Turn(call, line)


def _stream(
    results: Generator[Payload, None, object] | AsyncGenerator[Payload, None],
    stream: Stream,
    line: Line | None,
    began: int,
    decode_us: int,
) -> Pieces:
    problem = None
    if line is not None:
        line.on_credit = stream.allow
    try:
        if isinstance(results, AsyncGenerator):
            with signals.Running():
                _turn(stream.id, line).drain(results, stream)
        else:
            with watching(line, stream.flush), signals.Running():
                stream.drain(results)
    except TooManyError:
        forked.end()
        problem = stream.too_many()
    except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
        forked.end(error)
        problem = stream.cancelled() if stream.gone else exception_error(error)
    finally:
        if line is not None:
            line.on_credit = None
    spent = time.perf_counter_ns() - began - stream.waited_ns - stream.encode_ns
    return stream.answer(problem, decode_us, max(0, spent // 1_000))


def _check(results: object, expected: int) -> dict[str, Payload] | None:
    if not isinstance(results, list | tuple):
        name = type(results).__name__
        message = f"the handler returned {name}, not a list; {_hint(results)}"
        return describe("not_a_list", message, got=name)
    if len(results) != expected:
        message = f"the handler returned {len(results)} results for {expected} items"
        return describe("wrong_length", message, expected=expected, got=len(results))
    return None


def _hint(results: object) -> str:
    if isinstance(results, types.CoroutineType):
        # Close it, or Python would warn some time later that it was never awaited.
        results.close()
        return "an async handler returned a coroutine: await it"
    if results is None:
        return "is a return missing?"
    if hasattr(results, "tolist"):
        return "return list(array) or array.tolist()"
    return "it takes a list of items and returns a list of as many results"
