"""The program's main module in a worker, run once and under another name.

Under that name ``if __name__ == "__main__":`` does not hold, so that a worker does not run the
program again. Afterwards the module is ``__main__`` in every respect. Objects that a handler
pickles refer to ``__main__``, which the program and the children of :mod:`multiprocessing` can
import, and references to ``__mp_main__``, which such children send back, are found here. The
main thread loads the module, once, for the first target in ``__main__``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import types
from importlib.machinery import SourceFileLoader

from slither._references import SCRIPT as NAME
from slither._worker import current, output, registry

_MAIN = "__main__"
# multiprocessing calls the main module __mp_main__ in its children.
_NAMES = (_MAIN, "__mp_main__", NAME)
_loaded: dict[str, types.ModuleType] = {}


def load(main: str) -> types.ModuleType:
    """Return the program's main module, which also goes by ``__main__`` from then on.

    ``main`` is the absolute path of a script, or the name of a module that was run with ``-m``.
    What it registers with ``on_start`` runs before this returns. Whatever the module raises
    passes through, and the next call tries again.
    """
    found = _loaded.get(main)
    if found is not None:
        return found
    before = set(registry.start_hooks)
    handlers = set(map(id, _handlers()))
    module = types.ModuleType(NAME)
    previous = {name: sys.modules.get(name) for name in _NAMES}
    sys.modules.update(dict.fromkeys(_NAMES, module))
    try:
        exec(_code(main, module), module.__dict__)
        _rename(module)
        _quiet([handler for handler in _handlers() if id(handler) not in handlers])
        for name, hook in list(registry.start_hooks.items()):
            # Of a template, each worker runs them when it starts.
            if name not in before and not current.is_template:
                hook()
    except BaseException:
        for alias, other in previous.items():
            if other is None:
                del sys.modules[alias]
            else:
                sys.modules[alias] = other
        raise
    _loaded[main] = module
    return module


def _code(main: str, module: types.ModuleType) -> types.CodeType:
    if os.path.isabs(main):
        module.__file__ = main
        # Compile the script rather than import it, which would leave a cache beside it.
        with open(main, "rb") as file:
            source = file.read()
        if current.noted is not None:
            current.noted(_MAIN, main, source)
        return SourceFileLoader(NAME, main).source_to_code(source, main)
    spec = importlib.util.find_spec(main)
    code = getattr(spec and spec.loader, "get_code", lambda _name: None)(main)
    if spec is None or code is None:
        raise ModuleNotFoundError(f"No module named {main!r}", name=main)
    module.__spec__, module.__loader__, module.__package__ = spec, spec.loader, spec.parent
    if spec.origin is not None:
        module.__file__ = spec.origin
    assert isinstance(code, types.CodeType)
    return code


def _handlers() -> list[logging.Handler]:
    known = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    return [
        handler
        for logger in known
        if isinstance(logger, logging.Logger) and _reaches_root(logger)
        for handler in logger.handlers
    ]


def _reaches_root(logger: logging.Logger | None) -> bool:
    while logger is not None and logger.parent is not None:
        if not logger.propagate:
            return False
        logger = logger.parent
    return True


def _quiet(handlers: list[logging.Handler]) -> None:
    """Have handlers of the module that write to the terminal leave out what the program shows.

    The program has added the same ones, and is given the records.
    """
    for handler in handlers:
        if (
            isinstance(handler, logging.StreamHandler)
            and not isinstance(handler, logging.FileHandler)
            and handler.stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        ):
            handler.addFilter(_is_not_sent)


def _is_not_sent(record: logging.LogRecord) -> bool:
    least = output.least
    return current.link is None or least is None or record.levelno < least


def _rename(module: types.ModuleType) -> None:
    """Have what the module has defined say that it is ``__main__``'s, as in the program."""
    module.__name__ = _MAIN
    seen: set[int] = set()
    stack = list(vars(module).values())
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, type):
            if vars(value).get("__module__") == NAME:
                type.__setattr__(value, "__module__", _MAIN)
                stack.extend(vars(value).values())
        elif isinstance(value, types.FunctionType):
            if value.__module__ == NAME:
                value.__module__ = _MAIN
            stack.extend(vars(value).values())
        elif isinstance(value, staticmethod | classmethod):
            stack.append(value.__func__)
        else:
            _rename_own(value)


def _rename_own(value: object) -> None:
    # An object that wraps a function, such as lru_cache's, has a __module__ of its own. Read it
    # from __dict__ alone, as any other access may run code of the object's.
    try:
        own = object.__getattribute__(value, "__dict__")
    except (AttributeError, TypeError):
        return
    if isinstance(own, dict) and own.get("__module__") == NAME:
        own["__module__"] = _MAIN
