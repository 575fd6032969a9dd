"""Functions by reference: how a worker finds them, and why some can't be found."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

from slither._errors import NotImportable

Reference = tuple[str, str]


def reference(function: Callable[..., object]) -> Reference:
    """Return the module and the name by which a worker finds ``function``.

    Raises :class:`slither.NotImportable` with the reason where it can't be found.

    >>> import os.path
    >>> reference(len), reference(str.upper)
    (('builtins', 'len'), ('builtins', 'str.upper'))
    >>> reference(lambda item: item)
    Traceback (most recent call last):
        ...
    slither._errors.NotImportable: a lambda has no name that a worker could import; ...
    """
    if not callable(function):
        raise NotImportable(f"a function is wanted, not {function!r:.80}")
    _refuse_nameless(function)
    module, name = _names(function)
    if "<lambda>" in name:
        raise NotImportable(
            "a lambda has no name that a worker could import; define it with def, at the top of "
            "a module or of the script"
        )
    if "<locals>" in name:
        raise NotImportable(
            f"{name.replace('.<locals>', '')} is defined inside a function: workers are other "
            "processes, which import functions by name and do not get what it closes over; move "
            "it to the top of the module, and pass what it needs within the items"
        )
    if module == "__main__":
        module = _main_module(name)
    _same(function, "__main__" if module == "__main__" else module, name)
    return module, name


def main_script() -> str | None:
    """Return the path of the program's script, or None in a REPL or under ``-m``."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if path is None or getattr(main, "__spec__", None) is not None:
        return None
    path = os.path.abspath(path)
    return path if os.path.isfile(path) else None


def _refuse_nameless(function: Callable[..., object]) -> None:
    if isinstance(function, functools.partial):
        raise NotImportable(
            "a functools.partial has no name that a worker could import; define a function, or "
            "put the arguments into the items"
        )
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, type) and not hasattr(owner, "__spec__"):
        name = getattr(function, "__name__", "method")
        raise NotImportable(
            f"{name!r} is a method of a {type(owner).__name__} object, and objects are not sent; "
            "use a function that builds what it needs, once, in slither.worker.session() or in a "
            "module"
        )
    if not hasattr(function, "__qualname__"):
        raise NotImportable(
            f"a {type(function).__name__} object that can be called has no name that a worker "
            "could import; use a function"
        )


def _names(function: Callable[..., object]) -> Reference:
    name = str(getattr(function, "__qualname__", ""))
    module = getattr(function, "__module__", None)
    if module is None:
        # A method of a built-in type, such as str.upper, names the type only.
        module = getattr(getattr(function, "__objclass__", None), "__module__", None)
    return str(module or "builtins"), name


def _main_module(name: str) -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:
        # Under `python -m package.module`, workers import that module by its name.
        return str(spec.name)
    if main_script() is None:
        raise NotImportable(
            f"{name} is defined in an interactive session, of which workers have no file; put it "
            "into a module and import it"
        )
    return "__main__"


def _same(function: Callable[..., object], module: str, name: str) -> None:
    found: object = sys.modules.get(module)
    if found is None and module != "__main__":
        # Run as `python -m`: what is there goes by another name here.
        return
    for part in name.split("."):
        found = getattr(found, part, None)
    # The methods of a class are made anew each time they are asked for.
    if found is not function and found != function:
        raise NotImportable(
            f"{module}.{name} is not the function that was given: a worker would import another; "
            "is a decorator's wrapper in its place, or was it defined twice?"
        )
