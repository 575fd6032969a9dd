"""A digest of the source of each handler, by which a checkpoint knows the handlers again.

Called before a run with a checkpoint begins, in the thread that begins it.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import sysconfig
import types
from collections.abc import Iterator
from importlib import import_module

from slither._pipe.document import handlers
from slither._types import Payload

# A global that a function names is a setting of the function where it is of one of these types.
_PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None))
_INSTALLED = tuple(
    {path for name, path in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib"))}
)


def sources(document: dict[str, Payload]) -> dict[str, str]:
    """Return the digests of a document's handlers, by ``module:function``.

    A handler without a source, one of an extension module say, is left out.
    """
    found: dict[str, str] = {}
    for handler in handlers(document):
        function = _function(handler.module, handler.name)
        text = None if function is None else source(function)
        if text is not None:
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            found[f"{handler.module}:{handler.name}"] = digest
    return found


def source(function: object) -> str | None:
    """Return the source of a function, and of what it names of the program's own code.

    That is functions, classes and plain values, in turn; not what is installed, and not what is
    reached by the attribute of a module.
    """
    parts: dict[str, str] = {}
    _gather(function, parts)
    return "\n".join(parts[name] for name in sorted(parts)) if parts else None


def _function(module: str, name: str) -> object:
    try:
        found: object = sys.modules.get(module) or import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception:  # noqa: BLE001 - the user's module: a worker will say what is wrong with it
        return None
    return found


def _gather(thing: object, parts: dict[str, str]) -> None:
    thing = inspect.unwrap(thing) if callable(thing) else thing
    name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
    if name in parts:
        return
    try:
        parts[name] = inspect.getsource(thing)  # type: ignore[arg-type]
    except (TypeError, OSError):
        return
    for function in _functions(thing):
        for used in _names(function.__code__):
            value = function.__globals__.get(used)
            if isinstance(value, _PLAIN) and used in function.__globals__:
                parts[f"{function.__module__}.{used} ="] = f"{used} = {value!r}"
            elif _own(value):
                _gather(value, parts)


def _functions(thing: object) -> Iterator[types.FunctionType]:
    if isinstance(thing, types.FunctionType):
        yield thing
    elif isinstance(thing, type):
        yield from (part for part in vars(thing).values() if isinstance(part, types.FunctionType))


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= _names(inner)
    return names


def _own(value: object) -> bool:
    if not isinstance(value, types.FunctionType | type):
        return False
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    return isinstance(file, str) and not file.startswith(_INSTALLED)
