"""Functions by reference: the module and the name under which a worker finds them.

Pure; called wherever a program names a function: by pipes and by the driver, in its thread.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable

from slither._errors import NotImportable

ITEM_MARK = "__slither_item_handler__"
"""Marks a function of one item, and holds how many items it may have in hand at once."""

SCRIPT = "__slither_main__"
"""The module that a program's script is in a worker, where it also goes by ``__main__``."""

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def reference(handler: object) -> tuple[str, str]:
    """Return the module and the name of a handler: a function, or ``"module:name"``.

    Raises :class:`slither.NotImportable` for lambdas, functions within functions, and whatever
    else is not found under its name in its module. A function of ``__main__`` is one of a module
    of that name.

    >>> reference(len), reference(str.upper), reference("my_model:predict_batch")
    (('builtins', 'len'), ('builtins', 'str.upper'), ('my_model', 'predict_batch'))
    >>> reference(lambda item: item)
    Traceback (most recent call last):
        ...
    slither._errors.NotImportable: a lambda has no name by which a worker could find it; ...
    """
    owner = getattr(handler, "__objclass__", None)
    if isinstance(owner, type) and getattr(handler, "__module__", None) is None:
        # A method of a built-in type, such as str.upper, names the type only.
        return owner.__module__, str(getattr(handler, "__qualname__", ""))
    if isinstance(handler, str):
        if not _REFERENCE.fullmatch(handler):
            raise NotImportable(
                f'{handler!r} names no handler: write "module:function", as in '
                '"my_model:predict_batch"'
            )
        module, _, name = handler.partition(":")
        return module, name
    if isinstance(handler, functools.partial):
        raise NotImportable(
            f"a partial of {name_of(handler.func)} lives in this process alone; define a "
            "function that calls it"
        )
    if inspect.ismethod(handler) and not inspect.isclass(handler.__self__):
        raise NotImportable(
            f"{name_of(handler)} is bound to an object of this process; use a function of a "
            "module"
        )
    if not callable(handler):
        raise NotImportable(
            f'a handler is a function or "module:function", not a {type(handler).__name__}'
        )
    return _found(handler)


def _found(handler: Callable[..., object]) -> tuple[str, str]:
    module = getattr(handler, "__module__", None)
    name = getattr(handler, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        raise NotImportable(
            f"{handler!r} has no name by which a worker could find it; use a function of a module"
        )
    if "<lambda>" in name:
        raise NotImportable(
            "a lambda has no name by which a worker could find it; define a function with def, "
            "or use by_value=True"
        )
    if "<locals>" in name:
        raise NotImportable(_local(handler, name))
    there = sys.modules.get(module)
    # While a module is being imported, sys.modules may lack it, or hold an older one.
    if there is not None and _globals(handler) in (None, id(vars(there))):
        _same(handler, there, module, name)
    return module, name


def _local(handler: Callable[..., object], name: str) -> str:
    short = name.rpartition(".")[2]
    what = "a closure" if getattr(handler, "__closure__", None) else "defined within a function"
    return (
        f"{short} is {what} ({name}), and exists in this process alone; define it at the top "
        "of a module, or use by_value=True. If a decorator made it, the decorator needs "
        "functools.wraps"
    )


def _same(handler: object, there: object, module: str, name: str) -> None:
    found: object = there
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not handler and getattr(found, "__func__", found) is not getattr(
        handler, "__func__", handler
    ):
        what = "there is none" if found is None else "another object has it"
        raise NotImportable(
            f"a worker would look for {module}:{name}, and {what}; give the function the name "
            "that it has in its module"
        )


def _globals(handler: Callable[..., object]) -> int | None:
    space = getattr(inspect.unwrap(handler), "__globals__", None)
    return None if space is None else id(space)


def name_of(handler: object) -> str:
    """Return what a function is called, for whoever reads it."""
    return str(getattr(handler, "__qualname__", type(handler).__name__))
