"""A call whose items have many values each: the first chunk of them, and those that follow.

The main thread of a worker runs this for each such call: :mod:`slither._worker.execute` asks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slither._wire import build
from slither._wire.build import Pieces
from slither._wire.faults import describe
from slither._worker import (
    current,
    cursors,
    fitted,
    forked,
    given,
    reads,
    sessions,
    signals,
)
from slither._worker.chunk import Chunk, early
from slither._worker.cursors import Cursor
from slither._worker.errors_out import exception_error
from slither._worker.failure import BatchError
from slither._worker.targets import TargetError, resolve
from slither._worker.yielded import GoneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slither._types import Payload
    from slither._wire.frames import Call
    from slither._worker.ports import Line


def draws(call: Call) -> bool:
    """Tell whether a call is of this kind."""
    return call.target[0] == "more" or call.context.get("many") is True


def answer(
    call: Call,
    decode_us: int,
    max_frame: int,
    line: Line | None,
    handler: Callable[..., Payload] | None,
) -> Pieces:
    """Run one call, as :func:`slither._worker.execute.answer` does."""
    began = time.perf_counter_ns()
    cursor: Cursor | None = None
    chunk = Chunk(call.id, max_frame, line)
    problem: dict[str, Payload] | None = None
    try:
        with signals.Running():
            cursor = _cursor(call, handler)
            with early(chunk):
                cursor.draw(chunk, line, call.id)
    except (TargetError, BatchError) as error:
        problem = error.error
    except GoneError:
        problem = describe("cancelled", "nobody waits for the values any more")
    except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
        forked.end(error)
        problem = exception_error(error)
    if problem is not None:
        return _failed(call, cursor, chunk, problem, max_frame)
    if cursor is not None and not cursor.ended:
        cursors.keep(cursor)
        if cursor.run is not None:
            sessions.hold(cursor.run, call.id)
    spent = time.perf_counter_ns() - began - chunk.encode_ns
    return chunk.answer(decode_us, max(0, spent // 1_000))


def _cursor(call: Call, handler: Callable[..., Payload] | None) -> Cursor:
    if call.target[0] == "more":
        found = cursors.take(call.target[1])
        if found is None:
            message = f"no values are left of call {call.target[1]}: they were dropped, or given"
            raise TargetError(describe("cancelled", message))
        return found
    function, opens = handler or resolve(call.target), current.opener(call)
    if current.serving is not None:
        current.serving.begin()
    reads.settle(call, function)
    if call.target[0] == "apply":
        return Cursor(call, fitted.opening(fitted.called(function), opens), exception_error)
    given.refuse_frame(call, function)
    if given.at_once(call, function):
        return Cursor(
            call, fitted.opening(fitted.one(function), opens), given.teller(call, function)
        )
    return Cursor(
        call,
        fitted.opening_all(fitted.several(function), opens),
        lambda error: given.told_of_list(error, call, function),
        True,
    )


def _failed(
    call: Call,
    cursor: Cursor | None,
    chunk: Chunk,
    problem: dict[str, Payload],
    max_frame: int,
) -> Pieces:
    # An error frame has no room for values, so waiting ones go first.
    if problem["kind"] != "cancelled":
        chunk.flush()
    chunk.close()
    if cursor is not None:
        with signals.Running():
            cursor.close()
    return (build.error(call.id, problem, max_frame),)
