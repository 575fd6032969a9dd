"""What a function's annotations say of its first parameter and of its result.

Pure; called by :mod:`slither._takes`, in the thread that names a function, and in a worker's.
"""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import NamedTuple

NOTHING: object = object()
"""Stands for an annotation that is not there."""
DEEPEST = 8
"""How deep an annotation is looked into: an alias may be recursive."""

_LISTS = {"list", "List", "Sequence", "MutableSequence", "Collection", "Iterable", "Reversible"}
_ITERATORS = {"Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "AsyncIterable"}
_TUPLES = {"tuple", "Tuple"}
# What is no list, where an annotation could be read as text alone.
_OTHERS = {"dict", "Dict", "str", "bytes", "int", "float", "complex", "bool", "set", "frozenset"}
# Which argument of a coroutine's type is that of its result.
_AWAITED = {"Awaitable": 0, "Coroutine": 2}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_MODULES = ("builtins", "collections.abc", "typing")


class Says(NamedTuple):
    """What a function's annotations say: of its first parameter, and of its result."""

    parameter: object
    result: object
    name: str = ""


def says(function: Callable[..., object]) -> Says:
    """Return a function's annotations, as objects or, where they can't be evaluated, as text."""
    nothing = Says(NOTHING, NOTHING)
    if isinstance(function, type):
        return nothing
    try:
        parameters = list(signature(function).parameters.values())
        if not parameters or parameters[0].kind not in _POSITIONAL:
            return nothing
        hints = _hints(annotated(function))
        name = parameters[0].name
        return Says(hints.get(name, NOTHING), hints.get("return", NOTHING), name)
    except Exception:  # noqa: BLE001 - anything may stand in an annotation
        return nothing


def signature(function: Callable[..., object]) -> inspect.Signature:
    """Return a function's parameters, where an annotation that can't be read does not matter."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def annotated(function: object) -> object:
    """Return the function that the annotations stand at."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif callable(function) and hasattr(function, "__wrapped__"):
            function = inspect.unwrap(function)
        elif callable(function) and not hasattr(function, "__code__"):
            called = inspect.getattr_static(type(function), "__call__", None)
            if inspect.isroutine(function) or not inspect.isfunction(called):
                return function
            function = called
        else:
            return function


def _hints(function: object) -> dict[str, object]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - such as names that are imported for type checkers alone
        if sys.version_info >= (3, 14):
            from annotationlib import Format, get_annotations

            return dict(get_annotations(function, format=Format.STRING))
        return dict(getattr(function, "__annotations__", {}))


def is_list(annotation: object) -> bool:
    """Tell whether an annotation is one of a list, or of what a list is."""
    return _outer(annotation)[0] in _LISTS


def awaited(annotation: object) -> object:
    """Return what an annotation's coroutine gives; the annotation itself where it is of none."""
    name, inner = _outer(annotation)
    place = _AWAITED.get(name, len(inner))
    return inner[place] if place < len(inner) else annotation


def gives_many(annotation: object) -> bool:
    """Tell whether an annotation of a result is one of a list or an iterator."""
    name, inner = _outer(awaited(annotation))
    if name in _TUPLES:
        return not inner or (len(inner) == 2 and inner[1] in (..., "..."))
    return name in _LISTS or name in _ITERATORS


def yields(annotation: object) -> bool:
    """Tell whether an annotation of a result is one of an iterator."""
    return _outer(annotation)[0] in _ITERATORS


def no_list(annotation: object) -> bool:
    """Tell whether an annotation is of what can't be a list.

    >>> no_list(dict), no_list(object), no_list(list[int]), no_list(int | None)
    (True, False, False, True)
    """
    if isinstance(annotation, str):
        return _outer(annotation)[0] in _OTHERS
    # From Python 3.11 on Any is a class.
    if annotation is NOTHING or annotation is typing.Any:
        return False
    kind = typing.get_origin(annotation) or annotation
    if typing.is_typeddict(kind):
        return True
    try:
        return isinstance(kind, type) and not (
            issubclass(list, kind) or issubclass(kind, list | tuple)
        )
    except TypeError:
        # A protocol that nobody can ask.
        return False


def shown(annotation: object) -> str:
    """Return an annotation as text.

    >>> shown(list[int]), shown(dict), shown("Rows")
    ('list[int]', 'dict', 'Rows')
    """
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def depth(annotation: object, left: int = DEEPEST) -> int:
    """Return how many lists are within one another.

    >>> depth(list[list[int]]), depth(list[dict])
    (2, 1)
    """
    if _comes_as_list(annotation):
        return DEEPEST
    name, inner = _outer(getattr(annotation, "__supertype__", annotation))
    if left == 0 or not (name in _LISTS or name in _TUPLES or name == "Union"):
        return 0
    if name == "Union":
        # Each member may be an item, so what is certain is the least of them.
        return min((depth(one, left - 1) for one in inner if not _is_none(one)), default=0)
    return 1 + max((depth(one, left - 1) for one in inner), default=0)


def _comes_as_list(annotation: object) -> bool:
    """Tell whether what is of a type may be a list, or a tuple, once it was sent."""
    kind = typing.get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return False
    is_array = getattr(getattr(kind, "__struct_config__", None), "array_like", False)
    return (
        is_array
        or issubclass(kind, enum.Enum)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def _is_none(annotation: object) -> bool:
    return annotation in (None, type(None), "None")


def _outer(annotation: object, left: int = DEEPEST) -> tuple[str, tuple[object, ...]]:
    """Return the name of an annotation's outermost type, and what that is of."""
    if left == 0:
        return "", ()
    if isinstance(annotation, str):
        name, inner = _of_text(annotation)
    elif type(annotation).__name__ == "TypeAliasType":
        return _outer(annotation.__value__, left - 1)  # type: ignore[attr-defined]
    elif isinstance(annotation, typing.ForwardRef):
        return _outer(annotation.__forward_arg__, left - 1)
    else:
        kind = typing.get_origin(annotation) or annotation
        inner = typing.get_args(annotation)
        if kind is typing.Annotated:
            name = "Annotated"
        elif kind is typing.Union or kind is types.UnionType:
            name = "Union"
        elif isinstance(kind, type) and kind.__module__ in _MODULES:
            name = kind.__name__
        else:
            name = ""
    if name == "Annotated" and inner:
        return _outer(inner[0], left - 1)
    return ("Union" if name == "Optional" else name), inner


def _of_text(text: str) -> tuple[str, tuple[object, ...]]:
    try:
        node: ast.expr = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return "", ()
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _of_text(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return "Union", (ast.unparse(node.left), ast.unparse(node.right))
    if not isinstance(node, ast.Subscript):
        return _last(node), ()
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return _last(node.value), tuple(map(ast.unparse, parts))


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
