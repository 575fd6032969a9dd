"""The worker's side of a pool: register handlers, and ask about the call that runs.

``python -m slither.worker`` is what a pool starts. A handler takes a list of items and returns
a list of as many results, in the same order::

    from slither.worker import batch_handler

    @batch_handler
    def double(items: list[int]) -> list[int]:
        return [2 * item for item in items]

**Typed items.** A handler gets what its annotations say: with ``points: list[Point]``, a
dataclass, it gets points where dicts were sent. An item that is of another type fails alone, with
the path to what is wrong (:class:`slither.PayloadError`). Records are checked as a whole; what
restores no type (``int``, ``dict``, ``list[str]``) is not looked at. Results may be such objects,
too. ``typed=False`` of a mark has the data come as they are.

**Handlers that yield.** A handler may be a generator that yields one result for each item, in
order. BEAM gets them while it works, and a consumer of ``Slither.Dispatch.stream/2`` sees them
before the batch ends::

    @batch_handler
    def transcribe(paths: list[str]) -> Iterator[str]:
        for path in paths:
            yield model.transcribe(path)

A result that BEAM has stands, whatever happens after it in the call. When the generator raises or
yields fewer results than there are items, all that it has yielded stands, and the items left over
fail; when the worker dies, a few results may not have been sent, and their items fail as well.
Only items that failed are tried again. The last result of a batch stands when the generator has
ended: one that raises after it, or yields one more, has failed the last item.

A generator is at most 16 results ahead of their consumer. Then it waits at its ``yield``, which
uses up none of the call's time; once others need the worker, it goes on, and BEAM keeps what it
yields. When the caller goes away, it is closed (``GeneratorExit``).

**Handlers on asyncio.** A handler may be an ``async def`` function, or an asynchronous generator.
They run on one event loop, which stays the same for all calls of a worker's process, so that
clients and pools of connections can be kept. A worker still runs one call at a time: tasks that a
call leaves behind are cancelled when it ends (if they go on for a second, the worker takes a new
loop), and when its caller goes away, the call's task is cancelled (``asyncio.CancelledError``).
An ``async`` :func:`item_handler` runs on several of its items at once. Functions of this module
work in coroutines as anywhere. Views and tables hold up the loop until BEAM has answered;
``await asyncio.to_thread(views.price, key=1)`` does not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar, overload

from slither._takes import KINDS, FrameKind, mark_batch, mark_frame, mark_off
from slither._typed import functions
from slither._types import Payload
from slither._worker import current, reads, registry, sessions
from slither._worker.current import Context
from slither._worker.failure import Failure

__all__ = [
    "Context",
    "Failure",
    "batch_handler",
    "cancelled",
    "context",
    "item_handler",
    "on_session_stop",
    "on_start",
    "on_stop",
    "on_template",
    "progress",
    "session",
    "session_dump",
    "session_load",
]

_F = TypeVar("_F", bound=Callable[..., object])
_HookT = TypeVar("_HookT", bound=Callable[[], object])
_StateHookT = TypeVar("_StateHookT", bound=Callable[[dict[str, Payload]], object])
_LoadT = TypeVar("_LoadT", bound=Callable[[Payload], dict[str, Payload]])


@overload
def batch_handler(
    target: _F, /, *, as_: FrameKind | None = ..., typed: bool = ..., writable: bool = ...
) -> _F: ...
@overload
def batch_handler(
    target: str | None = None,
    /,
    *,
    as_: FrameKind | None = ...,
    typed: bool = ...,
    writable: bool = ...,
) -> Callable[[_F], _F]: ...
def batch_handler(
    target: _F | str | None = None,
    /,
    *,
    as_: FrameKind | None = None,
    typed: bool = True,
    writable: bool = True,
) -> _F | Callable[[_F], _F]:
    """Register a function of a list of items as a command, under its own name or the one given.

    The mark says, to pipes, maps and tests as well, that it takes the list of a batch's items.

    ``target`` is the function (bare decorator) or the command's name. The function stays as it
    is. It gets items as its annotations say, objects of dataclasses and the like in place of
    their data; with ``typed=False`` it gets the data. With ``as_``, ``"pandas"``, ``"polars"`` or
    ``"arrow"``, it gets the batch as one frame of that package, whose rows are the items, and
    gives a frame, a column or a list with a result for each row. It may write into the NumPy
    arrays that it gets, which are copies of its own; with ``writable=False`` they can only be
    read, and are not copied. Raises ValueError when another function has the name; the same
    function may be imported again.

    >>> @batch_handler("score")
    ... def score(items: list[float]) -> list[float]:
    ...     return [item * 0.5 for item in items]
    >>> score([4.0])
    [2.0]
    >>> @batch_handler(as_="pandas")
    ... def rate(frame):
    ...     return frame.assign(rate=frame["done"] / frame["all"])
    """
    if as_ is not None and as_ not in KINDS:
        raise ValueError(f"as_ is one of {', '.join(map(repr, KINDS))}, not {as_!r}")
    if target is None or isinstance(target, str):
        name = target

        def register(function: _F) -> _F:
            return _batch(function, name, as_, typed, writable)

        return register
    if not callable(target):
        raise TypeError(f"batch_handler takes a function or a name, not {target!r}")
    return _batch(target, None, as_, typed, writable)


def _batch(
    function: _F, name: str | None, as_: FrameKind | None, typed: bool, writable: bool
) -> _F:
    if as_ is not None:
        mark_frame(function, as_)
    mark_off(function, functions.MARK, "typed", typed)
    mark_off(function, reads.MARK, "writable", writable)
    called = getattr(function, "__name__", type(function).__name__)
    registry.add_command(called if name is None else name, function)
    mark_batch(function)
    return function


@overload
def item_handler(
    target: _F, /, *, concurrency: int = ..., typed: bool = ..., writable: bool = ...
) -> _F: ...
@overload
def item_handler(
    target: str | None = None,
    /,
    *,
    concurrency: int = ...,
    typed: bool = ...,
    writable: bool = ...,
) -> Callable[[_F], _F]: ...
def item_handler(
    target: _F | str | None = None,
    /,
    *,
    concurrency: int = registry.CONCURRENCY,
    typed: bool = True,
    writable: bool = True,
) -> _F | Callable[[_F], _F]:
    """Register a function of one item, whose exception fails that item and no other.

    As :func:`batch_handler`, for functions that take one item and return one result. The
    function may also be named by module and name. An ``async`` function runs on up to
    ``concurrency`` items of its batch at once; for others it means nothing. Raises TypeError for
    what can't be marked, such as a built-in function, and for generators, and ValueError for a
    ``concurrency`` below 1.

    >>> @item_handler("halve-it")
    ... def halve(item: float) -> float:
    ...     return item / 2
    >>> halve(4.0)
    2.0
    >>> @item_handler(concurrency=4)
    ... async def fetch(url: str) -> str:
    ...     return url.upper()
    """
    if concurrency < 1:
        raise ValueError(f"concurrency is 1 or more, not {concurrency!r}")
    if target is not None and not isinstance(target, str):
        return batch_handler(_mark(target, concurrency), typed=typed, writable=writable)
    name = target

    def register(function: _F) -> _F:
        marked = _mark(function, concurrency)
        return batch_handler(name, typed=typed, writable=writable)(marked)

    return register


def _mark(function: _F, concurrency: int) -> _F:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"an item handler returns one result, but {function!r} yields")
    try:
        setattr(function, registry.ITEM_MARK, concurrency)
    except AttributeError:
        raise TypeError(f"item_handler takes a function of yours, not {function!r}") from None
    return function


def on_start(hook: _HookT) -> _HookT:
    """Run a function once the preload modules are imported and before the first call.

    ``hook`` takes no arguments. When it raises, the worker does not start.

    >>> @on_start
    ... def load_model() -> None:
    ...     pass
    """
    registry.start_hooks[registry.origin(hook)] = hook
    return hook


def on_template(hook: _HookT) -> _HookT:
    """Run a function once the preload modules are imported, for all workers that are forked.

    A pool with ``start: :fork`` runs it once, in the process that its workers are forked from:
    what it loads is there in each worker, and takes memory once. A worker that is spawned runs it
    for itself, before what :func:`on_start` names. ``hook`` takes no arguments. It is to leave
    no thread running, and no connection that workers can't share. When it raises, no worker
    starts.

    >>> @on_template
    ... def load_weights() -> None:
    ...     pass
    """
    registry.template_hooks[registry.origin(hook)] = hook
    return hook


def on_stop(hook: _HookT) -> _HookT:
    """Run a function when the worker shuts down, last registered first.

    ``hook`` takes no arguments. It does not run when the worker is killed. An exception is
    logged.

    >>> @on_stop
    ... def close_model() -> None:
    ...     pass
    """
    registry.stop_hooks[registry.origin(hook)] = hook
    return hook


def context() -> Context:
    """Return the context of the call that runs; :class:`slither.SlitherError` outside one.

    >>> context()
    Traceback (most recent call last):
        ...
    slither._errors.SlitherError: context() was called outside a call; only a handler ...
    """
    return current.context()


def session() -> dict[str, Payload]:
    """Return the state that belongs to the call's session, a dict that the handler may fill.

    It is dropped when the session ends. Without a session it belongs to the run, and is dropped
    when the run ends; a call of neither has a state of its own. The state lives in this worker
    only. Raises :class:`slither.SlitherError` outside a call.

    >>> session()
    Traceback (most recent call last):
        ...
    slither._errors.SlitherError: session() was called outside a call; only a handler ...
    """
    call = current.call("session()")
    return sessions.of_call(call.context.get("session"), call.context.get("run"), call.id)


def on_session_stop(hook: _StateHookT) -> _StateHookT:
    """Run a function on each state that this worker lets go of, last registered first.

    ``hook`` takes the dict that :func:`session` returned. It runs when the session or the run
    has ended, when the session has moved to another worker, and when the worker shuts down; not
    when the worker is killed. An exception is logged.

    >>> @on_session_stop
    ... def close_files(state: dict[str, object]) -> None:
    ...     for value in state.values():
    ...         getattr(value, "close", lambda: None)()
    """
    registry.session_stop_hooks[registry.origin(hook)] = hook
    return hook


def session_dump(dump: _StateHookT) -> _StateHookT:
    """Register the function that makes of a session's state a value that can be sent.

    With :func:`session_load` it lets a session move to another worker, when its own is to be
    replaced: ``dump`` takes the dict and returns a value of the protocol, and is not to change
    the dict, which is still the session's should the move fail. Raises ValueError when another
    function is registered.

    >>> @session_dump
    ... def dump(state: dict[str, object]) -> object:
    ...     return state
    >>> @session_load
    ... def load(value: object) -> dict[str, object]:
    ...     return value
    """
    registry.add_session_function("dump", dump)
    return dump


def session_load(load: _LoadT) -> _LoadT:
    """Register the function that makes a session's state of what :func:`session_dump` made.

    ``load`` takes the value and returns the dict. It runs in the worker to which the session
    moves, which imports the function's module first if need be. Raises ValueError when another
    function is registered.
    """
    registry.add_session_function("load", load)
    return load


def progress(done: int, total: int | None = None) -> None:
    """Report how far the call is: ``done`` units of ``total``, both 0 or more.

    Dropped when BEAM has given no credit, and ignored outside a worker.

    >>> progress(3, total=10)
    """
    if done < 0 or (total is not None and total < 0):
        raise ValueError("done and total are 0 or more")
    if current.link is not None:
        call, whole = current.call_id(), None if total is None else int(total)
        current.link.progress(call, int(done), whole)


def cancelled() -> bool:
    """Tell whether nobody waits for the call's answer any more; False outside a worker.

    It looks for new frames without waiting, in the main thread; other threads see what the main
    thread saw. For a thread that has outlived its call nobody waits any more.

    >>> cancelled()
    False
    """
    call = current.call_id()
    is_over = call not in (0, current.running_id())
    return current.link is not None and (is_over or current.link.is_cancelled(call))


if __name__ == "__main__":
    # As a program this file is imported a second time, so nothing that must be unique lives in
    # it.
    import sys

    from slither._worker.main import main

    sys.exit(main())
