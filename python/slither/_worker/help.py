"""What a person is told of a function: its parameters, and its documentation.

The main thread runs it for a call of the target ``help``, which somebody types at a prompt.
"""

from __future__ import annotations

import inspect
import pydoc
import types

from slither._wire.faults import clean

# Names of a module that are listed, and the characters of a line about each.
_MOST, _LINE = 200, 60


def text_of(title: str, thing: object) -> str:
    """Return the documentation of a function or a module, under its name."""
    return clean(
        _module(thing) if isinstance(thing, types.ModuleType) else _function(title, thing)
    )


def _function(title: str, thing: object) -> str:
    return _joined(title + _signature(thing), inspect.getdoc(thing))


def _signature(thing: object) -> str:
    try:
        return str(inspect.signature(thing))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        # A function in C may tell nothing of its parameters.
        return "(...)"


def _module(module: types.ModuleType) -> str:
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if name[0] != "_" and callable(value)
    ]
    lines = [
        f"  {name}  {_short(getattr(module, name, None))}".rstrip() for name in names[:_MOST]
    ]
    return _joined(module.__name__, inspect.getdoc(module), "\n".join(lines))


def _short(thing: object) -> str:
    if not callable(thing):
        return ""
    said = pydoc.splitdoc(inspect.getdoc(thing) or "")[0]
    return said if len(said) <= _LINE else said[: _LINE - 1] + "…"


def _joined(*parts: str | None) -> str:
    return "\n\n".join(part for part in parts if part)
