"""What a function takes: one item, or the list of a batch's items.

What is said where a function is given (``each=``) wins; else its mark does, by a decorator of
:mod:`slither.worker`; else its annotations. A first parameter that is a list, with a result that
is one or an iterator, means a list. All others take one item, those without annotations included.

Pure but for the marks; called in a worker's main thread for each call, and in the thread that
names a function: by pipes, the driver, tests and ``slither check``.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from slither._references import ITEM_MARK

BATCH_MARK = "__slither_batch_handler__"
"""Marks a function that takes the list of a batch's items."""

ONE = (
    "the function was given the list of a batch's items; one that takes a single item is marked "
    "with @slither.worker.item_handler, or given with each=True"
)
"""What to do where a function of one item got a list."""
MANY = (
    "the function was given one item; one that takes the list of a batch's items is marked with "
    "@slither.worker.batch_handler, or given with each=False"
)
"""What to do where a function of a list got one item."""

Way: TypeAlias = Literal["item", "list"]

_LISTS = {"list", "List", "Sequence", "MutableSequence", "Collection", "Iterable", "Reversible"}
_ITERATORS = {"Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "AsyncIterable"}
_TUPLES = {"tuple", "Tuple"}
# Which argument of a coroutine's type is that of its result.
_AWAITED = {"Awaitable": 0, "Coroutine": 2}
_MODULES = ("builtins", "collections.abc", "typing")
# How deep an annotation is looked into: an alias may be recursive.
_DEEPEST = 8
_NOTHING: object = object()
# Functions that have no place for a mark, such as built-in ones and methods of an object.
_unmarkable: list[Callable[..., object]] = []


class Takes(NamedTuple):
    """What a function takes, and what says so.

    ``depth`` is how many lists within one another an item is, by annotations that say a list.
    """

    what: Way
    why: Literal["item_handler", "batch_handler", "annotations", "nothing"]
    depth: int = 0


class Says(NamedTuple):
    """What a function's annotations say: of its first parameter, and of its result."""

    parameter: object
    result: object


def mark_batch(function: Callable[..., object]) -> None:
    """Mark a function as one of a list, unless it is marked as one of an item."""
    if getattr(function, ITEM_MARK, 0) or is_batch(function):
        return
    try:
        setattr(function, BATCH_MARK, True)
    except (AttributeError, TypeError):
        _unmarkable.append(function)


def is_batch(function: Callable[..., object]) -> bool:
    """Tell whether a function is marked as one of a list."""
    if getattr(function, ITEM_MARK, 0):
        return False
    return getattr(function, BATCH_MARK, False) is True or function in _unmarkable


def takes(function: Callable[..., object]) -> Takes:
    """Tell what a function takes by its mark, or by its annotations.

    >>> def score(row: dict) -> float: ...
    >>> def scores(rows: list[dict]) -> list[float]: ...
    >>> takes(score).what, takes(scores).what, takes(lambda row: row).what
    ('item', 'list', 'item')
    """
    if getattr(function, ITEM_MARK, 0):
        return Takes("item", "item_handler")
    if is_batch(function):
        return Takes("list", "batch_handler")
    try:
        return _by_annotations(function)
    except TypeError:
        # It can't be hashed, so nothing is kept of it.
        return _by_annotations.__wrapped__(function)


def given(function: Callable[..., object], each: bool | None) -> Takes:
    """Tell what a function takes where ``each`` was said; TypeError where its mark says else."""
    found = takes(function)
    if each is None:
        return found
    if each and found.why == "batch_handler":
        raise TypeError(conflict(function, found))
    if not each and found.why == "item_handler":
        raise TypeError(conflict(function, found))
    return found._replace(what="item" if each else "list", depth=0)


def conflict(function: Callable[..., object], found: Takes) -> str:
    """Say that what was said of a function is not what its mark says."""
    name = getattr(function, "__qualname__", type(function).__name__)
    is_list = found.what == "list"
    return (
        f"{name} is marked with @slither.worker.{found.why}, so it takes "
        f"{'a list of items' if is_list else 'one item'}: leave out "
        f"each={is_list}, or the mark"
    )


def doubt(function: Callable[..., object], found: Takes, items: list[object]) -> str | None:
    """Say why nobody can tell what a function is to get; None where all is clear.

    A list of items looks like one item that is a list.
    """
    if found.what == "item" or found.why != "annotations":
        return None
    if not any(type(item) is list and _nesting(item) > found.depth for item in items):
        return None
    name = getattr(function, "__qualname__", type(function).__name__)
    return (
        f"{name} takes a list by its annotations, and an item is a list itself: say each=True "
        "where the function takes one item, or each=False where it takes the list of a batch's "
        "items"
    )


def _nesting(item: object) -> int:
    deep = 0
    while type(item) is list and deep <= _DEEPEST:
        deep += 1
        item = item[0] if item else None
    return deep


@functools.lru_cache(maxsize=1_024)
def _by_annotations(function: Callable[..., object]) -> Takes:
    said = says(function)
    if said.parameter is _NOTHING:
        return Takes("item", "nothing")
    if not _is_list(said.parameter):
        return Takes("item", "annotations")
    if said.result is _NOTHING or not gives_many(said.result):
        return Takes("item", "nothing" if said.result is _NOTHING else "annotations")
    return Takes("list", "annotations", _depth(said.parameter) - 1)


def says(function: Callable[..., object]) -> Says:
    """Return a function's annotations, as objects or, where they can't be evaluated, as text."""
    nothing = Says(_NOTHING, _NOTHING)
    if isinstance(function, type):
        return nothing
    try:
        parameters = list(_signature(function).parameters.values())
        if not parameters or parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            return nothing
        hints = _hints(_annotated(function))
        result = hints.get("return", _NOTHING)
        return Says(hints.get(parameters[0].name, _NOTHING), result)
    except Exception:  # noqa: BLE001 - anything may stand in an annotation
        return nothing


def _signature(function: Callable[..., object]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _annotated(function: object) -> object:
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


def _is_list(annotation: object) -> bool:
    return _outer(annotation)[0] in _LISTS


def gives_many(annotation: object) -> bool:
    """Tell whether an annotation of a result is one of a list or an iterator."""
    name, inner = _outer(annotation)
    if name in _AWAITED:
        return len(inner) > _AWAITED[name] and gives_many(inner[_AWAITED[name]])
    if name in _TUPLES:
        return not inner or (len(inner) == 2 and inner[1] in (..., "..."))
    return name in _LISTS or name in _ITERATORS


def yields(annotation: object) -> bool:
    """Tell whether an annotation of a result is one of an iterator."""
    return _outer(annotation)[0] in _ITERATORS


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


def _depth(annotation: object, left: int = _DEEPEST) -> int:
    name, inner = _outer(annotation)
    if left == 0 or not (name in _LISTS or name in _TUPLES or name == "Union"):
        return 0
    within = max((_depth(one, left - 1) for one in inner), default=0)
    return within if name == "Union" else 1 + within


def _outer(annotation: object, left: int = _DEEPEST) -> tuple[str, tuple[object, ...]]:
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
