"""What a handler's annotation says of its first argument."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable


def no_list(handler: object) -> str | None:
    """Return, in words, what a handler takes in a list's place; None where it may take a list.

    >>> def score(row: dict) -> float: ...
    >>> no_list(score)
    'dict'
    """
    if not callable(handler) or isinstance(handler, type):
        return None
    annotation = _first(handler)
    kind = typing.get_origin(annotation) or annotation
    if typing.is_typeddict(kind):
        return str(getattr(kind, "__name__", "dict"))
    if not isinstance(kind, type) or issubclass(list, kind) or issubclass(kind, list | tuple):
        return None
    return kind.__name__


def _first(handler: Callable[..., object]) -> object:
    try:
        parameters = list(inspect.signature(handler).parameters.values())
        if not parameters or parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            return None
        # Those that are text are evaluated as type checkers do, in the handler's module.
        return typing.get_type_hints(inspect.unwrap(handler)).get(parameters[0].name)
    except Exception:  # noqa: BLE001 - any expression may stand in an annotation
        return None
