"""The values of a call whose items have many: drawn chunk by chunk, and kept between its calls.

The main thread makes a cursor for such a call, and draws from it for that and for each ``more``.
What is left of one is closed with its run or its session, by ``drop``, and when the worker stops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from slither._wire.faults import describe
from slither._worker import forked, signals
from slither._worker.failure import BatchError, Failure, Raised
from slither._worker.yielded import GoneError

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._wire.frames import Call
    from slither._worker.chunk import Chunk
    from slither._worker.coroutines import Steps, Turn
    from slither._worker.ports import Line

_Entry = tuple[int, "bytes | None", bool, "bytes | None"]

_END = object()
_open: dict[int, Cursor] = {}


class _Refused(Exception):
    def __init__(self, message: str, got: str) -> None:
        super().__init__(message)
        self.error = describe("not_a_list", message, got=got)


class Cursor:
    """The items of one call, and how far their values are drawn."""

    def __init__(
        self,
        call: Call,
        handler: Callable[..., Payload],
        tell: Callable[[BaseException], dict[str, Payload]],
        batch: bool = False,
    ) -> None:
        """Take a handler of one item, or of their list, and what describes its exceptions."""
        self.id = call.id
        self.target = call.target
        self.run: str | None = call.context.get("run")
        self.session: str | None = call.context.get("session")
        self._items = call.items
        self._handler = handler
        self._tell = tell
        self._is_of_batch = batch
        self._at = 0
        self._of_batch: Any = None
        self._values: Any = None
        self._over: _Entry | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._items) and self._over is None

    def draw(self, chunk: Chunk, line: Line | None, call: int) -> None:
        """Put values into a chunk until it is full, for a call; raises what fails all items."""
        self._take(self._draw(chunk, lambda: line is not None and line.is_gone(call)), call, line)
        if self.ended:
            self.close()

    def close(self) -> None:
        """Close what values are drawn from: its handler's ``finally`` runs. Never raises."""
        self._at, self._over = len(self._items), None
        self._take(self._close(), self.id, None)

    def _take(self, steps: Steps, call: int, line: Line | None) -> None:
        try:
            first = next(steps)
        except StopIteration:
            return
        _turn(call, line).steps(steps, first, self.id, lambda: self.ended)

    def _draw(self, chunk: Chunk, gone: Callable[[], bool]) -> Steps:
        chunk.begin(len(self._items) - 1)
        if self._over is not None:
            chunk.add(*self._over)
            self._over = None
        while self._at < len(self._items) and not chunk.full:
            failed = None
            value = yield from self._value(gone)
            body: bytes | None = None
            if value is not _END:
                body, failed = chunk.encode(value)
            ended = value is _END or failed is not None
            entry = self._at, None if ended else body, ended, failed
            if ended:
                yield from _closed(self._values)
                self._values = None
                self._at += 1
            if not chunk.add(*entry):
                self._over = entry
            if gone():
                raise GoneError

    # The item's next value, its end, or what it has raised in a value's place.
    def _value(self, gone: Callable[[], bool]) -> Steps:
        try:
            if self._values is None:
                self._values = yield from self._begin(gone)
            value = yield from _next(self._values)
            if value is _END and self._at == len(self._items) - 1:
                yield from self._end_batch(gone)
        except (BatchError, GoneError):
            raise
        except _Refused as refused:
            value = Raised(refused.error)
        except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
            forked.end(error)
            if gone():
                raise GoneError from None
            value = Raised(self._tell(error))
        forked.end()
        return value

    def _begin(self, gone: Callable[[], bool]) -> Steps:
        if self._is_of_batch:
            made = yield from self._of_next(gone)
            if made is _END:
                raise _miscounted(self._at, len(self._items))
        else:
            made = self._handler(self._items[self._at])
        if _is_awaitable(made):
            made = yield made
        return _values_of(made)

    def _of_next(self, gone: Callable[[], bool]) -> Steps:
        try:
            if self._of_batch is None:
                made = self._handler(self._items)
                if _is_awaitable(made):
                    made = yield made
                if isinstance(made, list | tuple) and len(made) != len(self._items):
                    raise _miscounted(len(made), len(self._items))
                self._of_batch = _values_of(made)
            made = yield from _next(self._of_batch)
        except _Refused as refused:
            raise BatchError(refused.error) from None
        except BatchError:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            forked.end(error)
            if gone():
                raise GoneError from None
            raise BatchError(self._tell(error)) from None
        return made

    def _end_batch(self, gone: Callable[[], bool]) -> Steps:
        if self._of_batch is not None and (yield from self._of_next(gone)) is not _END:
            raise _miscounted(len(self._items) + 1, len(self._items))

    def _close(self) -> Steps:
        for source in (self._values, self._of_batch):
            yield from _closed(source)
        self._values = self._of_batch = None


def _next(source: Any) -> Steps:
    if hasattr(source, "__next__"):
        return next(source, _END)
    try:
        return (yield source.__anext__())
    except StopAsyncIteration:
        return _END


def _closed(source: Any) -> Steps:
    try:
        if hasattr(source, "aclose"):
            yield source.aclose()
        elif hasattr(source, "__next__") and hasattr(source, "close"):
            source.close()
        forked.end()
    except BaseException as error:
        forked.end(error)
        logging.getLogger("slither").exception("a generator raised as it was closed")


def _values_of(made: Any) -> Any:
    if hasattr(made, "__next__") or hasattr(made, "__anext__"):
        return made
    if isinstance(made, Failure):
        return iter([made])
    if not isinstance(made, str | bytes | bytearray | memoryview | Mapping):
        if hasattr(made, "__aiter__"):
            return made.__aiter__()
        if hasattr(made, "__iter__"):
            return iter(made)
    name = type(made).__name__
    hint = "[] stands for none" if made is None else "for one value return a list of one"
    raise _Refused(
        f"many values are a list or an iterator for each item, and this is {name}; {hint}", name
    )


def _miscounted(got: int, expected: int) -> BatchError:
    message = f"the handler gave values for {got} items; it was given {expected}"
    return BatchError(describe("wrong_length", message, expected=expected, got=got))


def _is_awaitable(value: object) -> bool:
    return hasattr(type(value), "__await__")


def _turn(call: int, line: Line | None) -> Turn:
    # Imported late, as in `slither._worker.execute`.
    from slither._worker.coroutines import Turn

    return Turn(call, line)


## Cursors that are open between two calls


def keep(cursor: Cursor) -> None:
    """Keep a cursor for the next ``more`` of its call."""
    _open[cursor.id] = cursor


def take(name: str) -> Cursor | None:
    """Return the open cursor of the call of that number, which is kept no more."""
    return _open.pop(int(name), None) if name.isdecimal() and len(name) < 20 else None


def target_of(name: str) -> list[str] | None:
    """Return what the call of that number has called, if its cursor is open."""
    cursor = _open.get(int(name)) if name.isdecimal() and len(name) < 20 else None
    return None if cursor is None else cursor.target


def drop(name: str) -> bool:
    """Close the cursor of the call of that number; tells whether there was one."""
    cursor = take(name)
    if cursor is not None:
        cursor.close()
    return cursor is not None


def drop_of(run: str | None, session: str | None) -> bool:
    """Close the cursors of a run in a session; tells whether there was one."""
    its = [cursor for cursor in _open.values() if (cursor.run, cursor.session) == (run, session)]
    for cursor in its:
        del _open[cursor.id]
        cursor.close()
    return bool(its)


def close_of(run: str | None, session: str | None) -> None:
    """Close the cursors of a session, or of a run where that is None."""
    for cursor in list(_open.values()):
        if cursor.session == session if session is not None else cursor.run == run:
            del _open[cursor.id]
            cursor.close()


def close_all() -> None:
    """Close all cursors: the worker stops."""
    while _open:
        cursor = _open.popitem()[1]
        with signals.Running():
            cursor.close()


def any_of(session: str | None) -> bool:
    """Tell whether a session has values left to draw."""
    return any(cursor.session == session for cursor in _open.values())
