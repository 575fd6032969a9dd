"""Handlers by reference: the module and the name under which a worker finds them."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class ReferenceRefused(Exception):
    """A handler that a worker could not find; the message says why, and what to do."""


def reference(handler: object) -> tuple[str, str]:
    """Return the module and the name of a handler: a function, or ``"module:name"``.

    Raises :class:`ReferenceRefused` for lambdas, functions within functions, and whatever else is
    not found under its name in its module. A function of ``__main__`` is one of a module of that
    name.

    >>> reference("my_model:predict_batch")
    ('my_model', 'predict_batch')
    """
    if isinstance(handler, str):
        if not _REFERENCE.fullmatch(handler):
            raise ReferenceRefused(
                f'{handler!r} names no handler: write "module:function", as in '
                '"my_model:predict_batch"'
            )
        module, _, name = handler.partition(":")
        return module, name
    if isinstance(handler, functools.partial):
        raise ReferenceRefused(
            f"a partial of {_name(handler.func)} lives in this process alone; define a function "
            "that calls it"
        )
    if inspect.ismethod(handler) and not inspect.isclass(handler.__self__):
        raise ReferenceRefused(
            f"{_name(handler)} is bound to an object of this process; use a function of a module"
        )
    if not callable(handler):
        raise ReferenceRefused(
            f'a handler is a function or "module:function", not a {type(handler).__name__}'
        )
    return _found(handler)


def _found(handler: Callable[..., object]) -> tuple[str, str]:
    module = getattr(handler, "__module__", None)
    name = getattr(handler, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        raise ReferenceRefused(
            f"{handler!r} has no name by which a worker could find it; use a function of a module"
        )
    if "<lambda>" in name:
        raise ReferenceRefused(
            "a lambda has no name by which a worker could find it; define a function with def"
        )
    if "<locals>" in name:
        raise ReferenceRefused(_local(handler, name))
    there = sys.modules.get(module)
    # While a module is imported, it may not be in its place yet, or an older one may be.
    if there is not None and _globals(handler) in (None, id(vars(there))):
        _same(handler, there, module, name)
    return module, name


def _local(handler: Callable[..., object], name: str) -> str:
    short = name.rpartition(".")[2]
    what = "a closure" if getattr(handler, "__closure__", None) else "defined within a function"
    return (
        f"{short} is {what} ({name}), and exists in this process alone; define it at the top "
        "of a module. If a decorator made it, the decorator needs functools.wraps"
    )


def _same(handler: object, there: object, module: str, name: str) -> None:
    found: object = there
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not handler and getattr(found, "__func__", found) is not getattr(
        handler, "__func__", handler
    ):
        what = "there is none" if found is None else "another object has it"
        raise ReferenceRefused(
            f"a worker would look for {module}:{name}, and {what}; give the function the name "
            "that it has in its module"
        )


def _globals(handler: Callable[..., object]) -> int | None:
    space = getattr(inspect.unwrap(handler), "__globals__", None)
    return None if space is None else id(space)


def _name(handler: object) -> str:
    return str(getattr(handler, "__qualname__", type(handler).__name__))
