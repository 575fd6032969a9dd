"""One call: find its target, run it, and turn whatever happens into an answer."""

from __future__ import annotations

import importlib
import sys
import time
import types
from collections.abc import AsyncGenerator, Generator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from slither._wire import build
from slither._wire.build import Pieces
from slither._wire.faults import clean, describe
from slither._worker import current, forked, registry, sessions, signals
from slither._worker.connection import Link
from slither._worker.errors_out import exception_error
from slither._worker.failure import Raised
from slither._worker.results import encode_result
from slither._worker.yielded import Stream, TooManyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slither._types import Payload
    from slither._wire.frames import Call
    from slither._worker.coroutines import Turn

ONE = "a function of one item is marked with @slither.worker.item_handler, and given as each=…"
# What a list answers to whoever takes it for an item.
_OF_A_LIST = (TypeError, AttributeError)
_targets: dict[tuple[str, ...], Callable[..., Payload]] = {}


class TargetError(Exception):
    """A target that can't be called; ``error`` is the error map."""

    def __init__(self, error: dict[str, Payload]) -> None:
        """Keep the error map."""
        super().__init__(error["message"])
        self.error = error


def answer(
    call: Call, decode_us: int, max_frame: int, handler: Callable[..., Payload] | None = None
) -> Pieces:
    """Run one call and build the frame that answers it; never raises.

    ``handler`` is what to run in place of what the call's target names.
    """
    try:
        with signals.Running():
            handler = handler or resolve(call.target)
            began = time.perf_counter_ns()
            results = _run(handler, call)
        if type(results) is not list and isinstance(results, Generator | AsyncGenerator):
            return _stream(results, call, decode_us, began, max_frame)
        handler_us = (time.perf_counter_ns() - began) // 1_000
        wrong = _check(results, len(call.items))
        if wrong is not None:
            return (build.error(call.id, wrong),)
        return encode_result(call.id, results, decode_us, handler_us, max_frame)
    except TargetError as error:
        return (build.error(call.id, error.error),)
    # A handler's sys.exit() fails its batch; only BEAM ends a worker.
    except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
        forked.end(error)
        return (build.error(call.id, _told(error, call), max_frame),)


def _told(error: BaseException, call: Call) -> dict[str, Payload]:
    told = exception_error(error)
    if call.target[0] == "function" and type(error) in _OF_A_LIST and "list" in told["message"]:
        # Many a function of one item was given a list so, and knows nothing of it.
        told["traceback"] += (
            f"\n{'.'.join(call.target[1:])} was given the list of a batch's items; {ONE}"
        )
    return told


def _run(handler: Callable[..., Payload], call: Call) -> Payload:
    kind = call.target[0]
    if kind == "apply":
        return _run_items(lambda item: handler(*item[0], **item[1]), call)
    at_once = getattr(handler, registry.ITEM_MARK, 0)
    if at_once:
        return _run_items(handler, call, at_once)
    if kind == "each" and handler not in registry.commands.values():
        return _run_items(handler, call)
    results = handler(call.items)
    forked.end()
    if type(results) is not list and _is_awaitable(results):
        return _turn(call).run(results)
    return results


def _run_items(
    handler: Callable[..., Payload], call: Call, at_once: int = registry.CONCURRENCY
) -> list[Payload]:
    results: list[Payload] = []
    plain: type | None = None
    for item in call.items:
        try:
            result = handler(item)
        except BaseException as error:  # noqa: BLE001 - as above, for one item
            forked.end(error)
            result = Raised(exception_error(error))
        forked.end()
        # Most results are of the type of the one before, and that was asked.
        if type(result) is not plain:
            if _is_awaitable(result):
                rest = call.items[len(results) :]
                return results + _turn(call).items(handler, rest, result, at_once)
            plain = type(result)
        results.append(result)
    return results


def _is_awaitable(value: object) -> bool:
    return hasattr(type(value), "__await__")


def _turn(call: Call) -> Turn:
    # asyncio costs a worker some start-up time and memory: those who don't use it pay nothing.
    from slither._worker.coroutines import Turn

    return Turn(call.id, _connection())


def _connection() -> Link | None:
    # Tests without BEAM have none that takes results early, or tells of a cancel by itself.
    return current.link if isinstance(current.link, Link) else None


def _stream(
    results: Generator[Payload, None, object] | AsyncGenerator[Payload, None],
    call: Call,
    decode_us: int,
    began: int,
    max_frame: int,
) -> Pieces:
    link = _connection()
    stream = Stream(call.id, len(call.items), max_frame, link)
    problem = None
    if link is not None:
        link.stream = stream
    try:
        if isinstance(results, AsyncGenerator):
            with signals.Running():
                _turn(call).drain(results, stream)
        else:
            watching = nullcontext() if link is None else link.watcher.watching(stream.flush)
            with watching, signals.Running():
                stream.drain(results)
    except TooManyError:
        forked.end()
        problem = stream.too_many()
    except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
        forked.end(error)
        problem = stream.cancelled() if stream.gone else exception_error(error)
    finally:
        if link is not None:
            link.stream = None
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
        # Or Python warns, some time later, that it was never awaited.
        results.close()
        return "an async handler returned a coroutine: await it"
    if results is None:
        return f"is a return missing? {ONE}"
    if hasattr(results, "tolist"):
        return "return list(array) or array.tolist()"
    return f"it takes a list of items and returns a list of as many results. {ONE}"


def resolve(target: list[str]) -> Callable[..., Payload]:
    """Return what a call's target names, or raise :class:`TargetError`."""
    key = tuple(target)
    if target[0] == "command":
        # Not cached: a module that is imported again replaces its handlers.
        return _command(target[1])
    if target[0] == "session":
        return _session(target[1])
    if target[0] == "pipes":
        from slither._worker.definitions import documents_of

        return lambda items: [documents_of(target[1])]
    key = key[1:]
    found = _targets.get(key)
    if found is None:
        found = _targets[key] = find(target[1], target[2])
    return found


def _session(name: str) -> Callable[..., Payload]:
    if name == "dump" and not sessions.is_movable():
        raise _not_movable()
    return {"end": sessions.end, "dump": sessions.dump, "load": _load_session}[name]


def _load_session(items: list[Payload]) -> list[Payload]:
    module = items[0]["module"]
    if "load" not in registry.session_pair and module is not None:
        load_module(module)
    if "load" not in registry.session_pair:
        raise _not_movable()
    return sessions.load(items)


def _not_movable() -> TargetError:
    message = "no session_dump and session_load functions are registered"
    return TargetError(describe("not_movable", message))


def _command(name: str) -> Callable[..., Payload]:
    handler = registry.commands.get(name)
    if handler is None:
        known = sorted(registry.commands)
        listed = ", ".join(known) or "none"
        message = f"no command is named {name!r}; registered: {listed}"
        raise TargetError(describe("unknown_command", message, known=[clean(k) for k in known]))
    return handler


def find(module_name: str, name: str) -> Callable[..., Payload]:
    """Return the function of that name in a module, or raise :class:`TargetError`."""
    found: Payload = load_module(module_name)
    walked = module_name
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise TargetError(_missing(found, walked, part)) from None
        walked = f"{walked}.{part}"
    if not callable(found):
        message = f"{walked} is of type {type(found).__name__}, not a function"
        raise TargetError(describe("import", message))
    handler: Callable[..., Payload] = found
    return handler


def load_module(name: str) -> types.ModuleType:
    """Import a module, or raise :class:`TargetError` with what was not found."""
    if name == "__main__" and current.main is not None:
        from slither._worker import script

        return script.load(current.main)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(missing + "."):
            message = f"no module is named {missing!r}; sys.path is {sys.path}"
            raise TargetError(describe("import", message)) from None
        facts = exception_error(error)
        message = f"{name} could not be imported: {facts['message']}"
        raise TargetError({**facts, "kind": "import", "message": clean(message)}) from None
    except (ValueError, TypeError) as error:
        if name.strip(".") and not name.startswith("."):
            raise
        raise TargetError(describe("import", f"{name!r} is no module name: {error}")) from None


def _missing(owner: object, walked: str, part: str) -> dict[str, Payload]:
    import difflib

    names = [name for name in dir(owner) if not name.startswith("__")]
    near = difflib.get_close_matches(part, names, 3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return describe("import", f"{walked} has no attribute {part!r}{hint}", near=near)
