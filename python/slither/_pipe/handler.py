"""What a Python stage runs, by its reference, and whether that takes a list.

Called by :class:`slither.Pipe`, in the thread of whoever writes a pipe.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias

from slither._errors import NotImportable
from slither._options import TEXT
from slither._pipe.expression import Expression
from slither._pipe.mistakes import mistake
from slither._references import ITEM_MARK, reference
from slither._types import Payload

BatchHandler: TypeAlias = (
    Callable[[list[Payload]], list[Payload]]
    | Callable[[list[Payload]], Awaitable[list[Payload]]]
    | Callable[[list[Payload]], Iterator[Payload]]
    | Callable[[list[Payload]], AsyncIterator[Payload]]
)
"""What a Python stage runs: a function of a list of items that gives a result for each."""


def target(
    stage: str,
    handler: BatchHandler | str | None,
    each: Callable[[Payload], Payload] | None,
    command: str | None,
) -> dict[str, Payload]:
    """Return what the document says that a stage runs: exactly one of the three is given."""
    given = [one for one in (handler, each, command) if one is not None]
    if len(given) != 1:
        raise mistake(
            f"stage {stage!r} takes a function, each= or command=, and exactly one of them"
        )
    if command is not None:
        if not TEXT[1](command):
            raise mistake(f"stage {stage!r}: a command's name is a str, got {command!r:.80}")
        return {"command": command}
    if isinstance(given[0], Expression):
        raise mistake(f"stage {stage!r} runs in Python: an expression goes to .beam(…)")
    if each is not None and not getattr(each, ITEM_MARK, False):
        raise mistake(
            f"stage {stage!r}: each takes a function of one item; mark it with "
            "@slither.worker.item_handler"
        )
    if each is None and not hasattr(handler, ITEM_MARK) and (takes := no_list(handler)):
        raise mistake(
            f"stage {stage!r}: a handler takes a list of items, and this one says {takes}; for a "
            f"function of one item write each=…, and mark it with @slither.worker.item_handler"
        )
    try:
        module, function = reference(given[0])
    except NotImportable as refused:
        raise mistake(f"stage {stage!r}: {refused}") from None
    return {"module": module, "function": function}


def no_list(handler: object) -> str | None:
    """Return, in words, what a handler takes in a list's place; None where it may take a list.

    >>> def score(row: dict) -> float: ...
    >>> no_list(score)
    'dict'
    """
    if not callable(handler) or isinstance(handler, type):
        return None
    annotation = _first(handler)
    # From Python 3.11 on Any is a class.
    if annotation is typing.Any:
        return None
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
        # Annotations that are text are evaluated in the handler's module, as type checkers do.
        return typing.get_type_hints(inspect.unwrap(handler)).get(parameters[0].name)
    except Exception:  # noqa: BLE001 - any expression may stand in an annotation
        return None
