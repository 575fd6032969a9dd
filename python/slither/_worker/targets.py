"""What a call's target names: a command, a function of a module, or a job of the worker's own.

Run in the main thread: for each call by :mod:`slither._worker.execute`, and at the start for
preload modules and the initializer.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Sequence

from slither._by_value import Kept, split
from slither._typed.functions import called
from slither._types import Payload
from slither._wire import late
from slither._wire.faults import clean, describe
from slither._worker import current, cursors, registry, sessions
from slither._worker.errors_out import exception_error

_found: dict[tuple[str, ...], Callable[..., Payload]] = {}


class TargetError(Exception):
    """A target that can't be called; ``error`` is the error map."""

    def __init__(self, error: dict[str, Payload]) -> None:
        super().__init__(error["message"])
        self.error = error


def resolve(target: list[str]) -> Callable[..., Payload]:
    """Return what a call's target names, or raise :class:`TargetError`."""
    kind = target[0]
    if kind == "command":
        # Commands are not cached: a module that is imported again replaces its handlers.
        return _command(target[1])
    if kind == "session":
        return _session(target[1])
    if kind == "drop":
        return lambda items: [_drop(target[1])]
    if kind == "pipes":
        return lambda items: [_documents(target[1])]
    if kind == "help":
        return lambda items: [_help(target[1], target[2])]
    if (kept := split(target[2])) is not None:
        return _by_value(kept)
    key = tuple(target[1:])
    found = _found.get(key)
    if found is None:
        found = _found[key] = find(target[1], target[2])
    return found


def _drop(name: str) -> bool:
    if name != "run":
        return cursors.drop(name)
    now = current.context()
    return cursors.drop_of(now.run, now.session)


def find(module_name: str, name: str) -> Callable[..., Payload]:
    """Return the function of that name in a module, or raise :class:`TargetError`."""
    if (kept := split(name)) is not None:
        return _by_value(kept)
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


def _by_value(kept: Kept) -> Callable[..., Payload]:
    from slither._worker import by_value

    try:
        return by_value.function(kept)
    except by_value.Refused as refused:
        raise TargetError(describe("import", str(refused))) from None
    except Exception as error:  # noqa: BLE001 - what unpickling runs is the user's code
        facts = exception_error(error)
        message = f"{kept.name}, which came by value, could not be opened: "
        message += f"{facts['type']}: {facts['message']}"
        raise TargetError({**facts, "kind": "import", "message": clean(message)}) from None


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


def load_first(preload: Sequence[str], initializer: list[Payload] | None) -> None:
    """Run what comes before the first call: preload modules, the initializer, start hooks."""
    load_template(preload)
    load_own(initializer)


def load_template(preload: Sequence[str]) -> None:
    """Run what workers may share that are forked afterwards: preload modules, their hooks."""
    for name in preload:
        load_module(name)
    for hook in list(registry.template_hooks.values()):
        hook()


def load_own(initializer: list[Payload] | None) -> None:
    """Run what each worker runs for itself: the initializer, and start hooks."""
    if initializer:
        module, name, arguments = initializer
        called(find(module, name))(*arguments)
    for hook in list(registry.start_hooks.values()):
        hook()


def _missing(owner: object, walked: str, part: str) -> dict[str, Payload]:
    import difflib

    names = [name for name in dir(owner) if not name.startswith("__")]
    near = difflib.get_close_matches(part, names, 3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return describe("import", f"{walked} has no attribute {part!r}{hint}", near=near)


def _command(name: str) -> Callable[..., Payload]:
    handler = registry.commands.get(name)
    if handler is None:
        known = sorted(registry.commands)
        listed = ", ".join(known) or "none"
        message = f"no command is named {name!r}; registered: {listed}"
        raise TargetError(describe("unknown_command", message, known=[clean(k) for k in known]))
    return handler


def _help(module: str, name: str) -> str:
    from slither._worker.help import text_of

    if not name:
        return text_of(module, load_module(module))
    return text_of(f"{module}.{name}", find(module, name))


def _documents(module: str) -> list[Payload]:
    from slither._worker.definitions import documents_of

    documents, error = documents_of(module)
    if error is not None:
        raise TargetError(error)
    return documents


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
    return sessions.load(late.made(items))


def _not_movable() -> TargetError:
    message = "no session_dump and session_load functions are registered"
    return TargetError(describe("not_movable", message))
