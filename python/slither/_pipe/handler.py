"""What a Python stage runs, by its reference, and whether that takes a list.

Called by :class:`slither.Pipe`, in the thread of whoever writes a pipe.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias

from slither import _takes
from slither._errors import NotImportable
from slither._options import TEXT
from slither._pipe.expression import Expression
from slither._pipe.mistakes import mistake
from slither._references import name_of, reference
from slither._takes import FrameKind
from slither._types import Payload

BatchHandler: TypeAlias = (
    Callable[[list[Payload]], list[Payload]]
    | Callable[[list[Payload]], Awaitable[list[Payload]]]
    | Callable[[list[Payload]], Iterator[Payload]]
    | Callable[[list[Payload]], AsyncIterator[Payload]]
)
"""A function of a list of items that gives a result for each."""
ItemHandler: TypeAlias = Callable[[Payload], Payload]
"""A function of one item that gives its result."""


class Local(str):
    """The name of a function that goes by value, and the function."""

    __slots__ = ("handler",)
    handler: object

    @classmethod
    def of(cls, handler: object) -> Local:
        """Return that of a function."""
        made = cls(name_of(getattr(handler, "func", handler)))
        made.handler = handler
        return made

    def __deepcopy__(self, _memo: object) -> Local:
        return self


def target(
    stage: str,
    handler: BatchHandler | ItemHandler | str | None,
    each: bool | None,
    command: str | None,
    as_: FrameKind | None = None,
    *,
    by_value: bool = False,
) -> dict[str, Payload]:
    """Return what the document says that a stage runs: a function, or a registered command."""
    if (handler is None) == (command is None):
        raise mistake(f"stage {stage!r} takes a function or command=, and exactly one of them")
    if each is not None and type(each) is not bool:
        got = getattr(each, "__name__", each)
        raise mistake(
            f"stage {stage!r}: each is True or False, and the function stands before it: "
            f".python({stage!r}, function, each=True); got {got!r:.80}"
        )
    if command is not None:
        return _command(stage, command, each)
    if isinstance(handler, Expression):
        raise mistake(f"stage {stage!r} runs in Python: an expression goes to .beam(…)")
    try:
        module, function = _found(handler, by_value)
        kind = _takes.checked_frame(handler, as_, each)
        takes = "list" if kind is not None else _takes.way(handler, each)
    except (NotImportable, TypeError) as refused:
        raise mistake(f"stage {stage!r}: {refused}") from None
    found = {"module": module, "function": function}
    return found if takes == "list" else {**found, "takes": takes}


def _found(handler: object, by_value: bool) -> tuple[str, str]:
    try:
        return reference(handler)
    except NotImportable:
        if not by_value or isinstance(handler, str) or not callable(handler):
            raise
        return str(getattr(handler, "__module__", None) or type(handler).__module__), Local.of(
            handler
        )


def _command(stage: str, command: str, each: bool | None) -> dict[str, Payload]:
    if not TEXT[1](command):
        raise mistake(f"stage {stage!r}: a command's name is a str, got {command!r:.80}")
    if each is not None:
        raise mistake(
            f"stage {stage!r}: each goes with a function; a command says by its decorator what "
            "it takes"
        )
    return {"command": command}
