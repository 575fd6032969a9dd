"""The annotations of functions and of classes as objects, each by itself.

Pure; called by the modules beside it, in the thread that names a function, and in a worker's for
its first call. A name that can't be read, such as one that is imported for type checkers alone,
costs its own annotation and no other.
"""

from __future__ import annotations

import collections.abc
import contextlib
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import NamedTuple

from slither import _annotations
from slither._words import said

NOTHING = _annotations.NOTHING
"""Stands for an annotation that is not there."""


class Unread(NamedTuple):
    """An annotation that can't be read, and why."""

    text: str
    why: str


class Parameter(NamedTuple):
    """A parameter of a function."""

    name: str
    kind: object
    annotation: object


class Signature(NamedTuple):
    """The parameters of a function in their order, and what it says that it returns."""

    parameters: tuple[Parameter, ...]
    result: object


_EMPTY = Signature((), NOTHING)


def signature(function: Callable[..., object]) -> Signature:
    """Return what a function's annotations say; nothing for classes, and for what has none."""
    if isinstance(function, type):
        return _EMPTY
    try:
        annotated = _annotations.annotated(function)
        raw = _raw(annotated)
        if not raw:
            return _EMPTY
        parameters = _annotations.signature(function).parameters.values()
        hints = _hints(annotated, raw)
        found = [
            Parameter(one.name, one.kind, hints.get(one.name, NOTHING)) for one in parameters
        ]
        return Signature(tuple(found), hints.get("return", NOTHING))
    except Exception:  # noqa: BLE001 - anything may stand in an annotation
        return _EMPTY


def first(parameters: tuple[Parameter, ...]) -> Parameter | None:
    """Return the parameter that the first argument goes to."""
    if not parameters or parameters[0].kind in (
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    ):
        return None
    return parameters[0]


def _raw(owner: object) -> Mapping[str, object]:
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        return get_annotations(owner, format=Format.FORWARDREF)
    found = inspect.get_annotations(owner) if callable(owner) else {}
    return found or {}


def _hints(owner: object, raw: Mapping[str, object]) -> dict[str, object]:
    """Return the annotations of a function, or those that stand at one class."""
    with_extras: dict[str, object]
    try:
        with_extras = typing.get_type_hints(owner, include_extras=True)
        return {name: with_extras[name] for name in raw}
    except Exception:  # noqa: BLE001 - one of them can't be read
        return {name: resolved(annotation, owner) for name, annotation in raw.items()}


def of_class(owner: type) -> dict[str, object]:
    """Return the annotations of a class's fields, with those of the classes that it is of."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except Exception:  # noqa: BLE001 - as above
        found: dict[str, object] = {}
        for part in reversed(owner.__mro__):
            raw = _raw(part)
            found.update((name, resolved(annotation, part)) for name, annotation in raw.items())
        return found


def resolved(annotation: object, owner: object) -> object:
    """Return an annotation that stands at a function, a class or a variable as an object."""
    if annotation is None:
        return type(None)
    alone = types.SimpleNamespace(__annotations__={"one": annotation})
    module = _module(str(getattr(owner, "__module__", None)))
    # What is imported for type checkers alone is mostly one of these.
    known = {**vars(typing), **vars(collections.abc)}
    space = {**known, **(getattr(owner, "__globals__", None) or vars(module or typing))}
    names = {**_closed_over(owner), **_own_names(owner)}
    try:
        return typing.get_type_hints(alone, space, names, include_extras=True)["one"]
    except Exception as error:  # noqa: BLE001 - the user's own text
        return Unread(_annotations.shown(annotation), said(error))


def _module(name: str) -> types.ModuleType | None:
    # What came by value may be of a module that its worker has not imported yet.
    if name not in sys.modules and name != "__main__":
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    return sys.modules.get(name)


def _own_names(owner: object) -> dict[str, object]:
    # A class within a function does not find itself among the names of its module.
    parameters = getattr(owner, "__type_params__", ())
    names = {getattr(one, "__name__", ""): one for one in parameters}
    if isinstance(owner, type):
        names |= {**vars(owner), owner.__name__: owner}
    return names


def _closed_over(owner: object) -> dict[str, object]:
    try:
        return dict(inspect.getclosurevars(typing.cast("Callable[..., object]", owner)).nonlocals)
    except Exception:  # noqa: BLE001 - it is no function, or a cell of it is empty
        return {}


def kind_of(kind: object) -> str:
    """Return the name of a special form or a type of ``typing``, wherever it is from.

    What is in ``typing_extensions`` for older Pythons goes by the same name.

    >>> kind_of(typing.Annotated), kind_of(typing.Union), kind_of(int)
    ('Annotated', 'Union', '')
    """
    if kind is typing.Union or kind is types.UnionType:
        return "Union"
    module = getattr(kind, "__module__", None)
    if module not in ("typing", "typing_extensions"):
        return ""
    return str(getattr(kind, "_name", None) or getattr(kind, "__name__", ""))
