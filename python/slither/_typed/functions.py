"""What a function's annotations make of the values that it is called with, and of its results.

Pure but for what it keeps. A worker's main thread asks for each call, and a program for each run
and each single call, in the thread that begins it. A function without annotations, or with none
that restores a type, costs a look-up.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from slither._errors import PayloadError
from slither._weakly import weakly

if TYPE_CHECKING:
    from slither._typed.door import Arguments
    from slither._typed.hints import Signature

T = TypeVar("T")
Function: TypeAlias = Callable[..., object]
Typed: TypeAlias = Callable[[Any], Any]
"""Returns a value as what an annotation says, or raises :class:`slither.PayloadError`."""
Way: TypeAlias = Literal["item", "list", "values", "parts"]
"""What a result is: that of one item; one of a list; one of the values of an item, or of a call,
that gives several; one of those where a list of items has several for each.
"""

MARK = "__slither_typed__"
"""Is False on a function that is to get data as they come."""
RESULT = "result"
# Annotations that restore nothing, of functions for which nothing more is to be loaded.
_PLAIN: frozenset[object] = frozenset(
    {int, float, complex, str, bool, bytes, dict, list, object, None, Any}
) | {"int", "float", "str", "bool", "bytes", "dict", "list", "object", "None", "Any", "Payload"}


def of_item(function: Function) -> Typed | None:
    """Return what makes one item what the first parameter says; None where it is as it is."""
    return _of_item(function)


def of_list(function: Function) -> Typed | None:
    """Return what makes each of a list of items what the first parameter says a list of."""
    return _of_list(function)


def of_call(function: Function) -> Arguments | None:
    """Return what makes arguments what the parameters say; None where all are as they are."""
    return _of_call(function)


def of_result(function: object, way: Way) -> Typed | None:
    """Return what makes a result of a function what that says that it returns, if anything."""
    if isinstance(function, functools.partial):
        function = function.func
    if not callable(function):
        return None
    return _results[way](function)


def called(function: Function) -> Function:
    """Return the function, as one that takes data for its arguments."""
    arguments = of_call(function)
    if arguments is None:
        return function
    return lambda *given, **named: function(*arguments.listed(given), **arguments.named(named))


def each(convert: Typed, values: Iterable[Any]) -> tuple[list[Any], dict[int, PayloadError]]:
    """Convert values by themselves: those that fit, and why others don't, by their places."""
    made: list[Any] = []
    failed: dict[int, PayloadError] = {}
    for index, value in enumerate(values):
        try:
            made.append(convert(value))
        except PayloadError as error:
            failed[index] = error
    return made, failed


def _signature(function: Function) -> Signature | None:
    """Return what a function says; None where it says nothing that restores a type."""
    if getattr(function, MARK, True) is False:
        return None
    if inspect.isfunction(function) and not hasattr(function, "__wrapped__"):
        # On Python 3.14 to look at them may raise, as that evaluates them.
        try:
            if all(_is_plain(one) for one in function.__annotations__.values()):
                return None
        except Exception:  # noqa: BLE001 - the user's annotations
            pass
    from slither._typed.hints import signature

    return signature(function)


def _is_plain(annotation: object) -> bool:
    try:
        return annotation in _PLAIN
    except TypeError:
        return False


def _convert(annotation: object) -> Typed | None:
    from slither._typed.build import form_of

    form = form_of(annotation)
    return form.convert if form.restores else None


def _door(annotation: object, root: str) -> Typed | None:
    convert = _convert(annotation)
    if convert is None:
        return None
    from slither._typed.door import door

    return door(convert, root)


@weakly
def _of_item(function: Function) -> Typed | None:
    said = _signature(function)
    if said is None:
        return None
    from slither._typed.hints import first

    parameter = first(said.parameters)
    return None if parameter is None else _door(parameter.annotation, "payload")


@weakly
def _of_list(function: Function) -> Typed | None:
    said = _signature(function)
    if said is None:
        return None
    from slither._typed.elements import of_rows
    from slither._typed.hints import first

    parameter = first(said.parameters)
    return None if parameter is None else _door(of_rows(parameter.annotation), "payload")


@weakly
def _of_call(function: Function) -> Arguments | None:
    said = _signature(function)
    if said is None:
        return None
    positional: list[Typed | None] = []
    named: dict[str, Typed] = {}
    more = rest = None
    kinds = inspect.Parameter
    for one in said.parameters:
        convert = _convert(one.annotation)
        if one.kind is kinds.VAR_POSITIONAL:
            more = convert
        elif one.kind is kinds.VAR_KEYWORD:
            rest = convert
        else:
            if one.kind is not kinds.KEYWORD_ONLY:
                positional.append(convert)
            if convert is not None and one.kind is not kinds.POSITIONAL_ONLY:
                named[one.name] = convert
    if not (any(positional) or named or more or rest):
        return None
    from slither._typed.door import Arguments

    return Arguments(positional, named, more, rest)


@weakly
def _result_of_item(function: Function) -> Typed | None:
    from slither._typed.elements import of_awaited

    said = _signature(function)
    return None if said is None else _door(of_awaited(said.result), RESULT)


@weakly
def _result_of_list(function: Function) -> Typed | None:
    from slither._typed.elements import of_awaited, of_rows

    said = _signature(function)
    return None if said is None else _door(of_rows(of_awaited(said.result)), RESULT)


@weakly
def _result_of_parts(function: Function) -> Typed | None:
    from slither._typed.elements import of_awaited, of_rows

    said = _signature(function)
    return None if said is None else _door(of_rows(of_rows(of_awaited(said.result))), RESULT)


_results: dict[Way, Callable[[Function], Typed | None]] = {
    "item": _result_of_item,
    "list": _result_of_list,
    "values": _result_of_list,
    "parts": _result_of_parts,
}
