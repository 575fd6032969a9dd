"""How a call's function is given its items: one by one, as the list that they are, or as a frame.

Pure; :mod:`slither._worker.execute` asks for each call, in the main thread. What gave the wrong
one is told as a fact, ``gave``: BEAM and the driver have the words, each for its language.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slither import _takes
from slither._worker import registry
from slither._worker.errors_out import exception_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from slither._types import Payload
    from slither._wire.frames import Call

# The exceptions that a function most often raises when it gets a list for an item, or an item for
# a list.
_ODD = (TypeError, AttributeError)
_NO_LIST = re.compile(
    r"not iterable|doesn't apply to|is not a mapping|has no len|not subscriptable"
    r"|indices must be integers|'str' object has no attribute"
    r"|has no attribute '(append|extend|index|copy|sort)'"
)


def at_once(call: Call, handler: Callable[..., Payload]) -> int:
    """Return how many items a function may have in hand, one by one; 0 where it takes the list.

    Raises TypeError where what the call says is not what the function says of itself, and where
    that leaves a doubt.
    """
    kind = call.target[0]
    marked: int = getattr(handler, registry.ITEM_MARK, 0)
    if marked or kind not in ("item", "each"):
        return marked
    if kind == "item":
        if _takes.is_batch(handler):
            raise TypeError(_takes.marked(handler, _takes.takes(handler)))
        return registry.CONCURRENCY
    found = _takes.takes(handler)
    if wrong := _takes.doubt(handler, found, call.items):
        raise TypeError(wrong)
    return registry.CONCURRENCY if found.what == "item" else 0


def frame(call: Call, handler: Callable[..., Payload]) -> _takes.FrameKind | None:
    """Return as what frame a function gets the items, None where it gets them as they are.

    Raises TypeError where the call says one thing, and the function's mark another.
    """
    return _takes.checked_frame(handler, call.context.get("as"))


def refuse_frame(call: Call, handler: Callable[..., Payload]) -> None:
    """Raise TypeError where a function that gets a frame is to give many values for each item."""
    if frame(call, handler) is not None:
        raise TypeError(
            "a handler that gets its batch as a frame gives one result for each row: it does not "
            "go with many values"
        )


def told_of_list(
    error: BaseException, call: Call, handler: Callable[..., Payload] | None
) -> dict[str, Payload]:
    """Describe what a call raised as a whole: its function may have been meant for one item."""
    told = exception_error(error)
    if type(error) in _ODD and "list" in told["message"] and is_unsaid(call, handler):
        told["gave"] = "list"
    elif call.target[0] == "item" and handler is not None and _takes.is_batch(handler):
        # What `at_once` refused; it was to be given one item, and did not run.
        told["gave"] = "item"
    return told


def teller(
    call: Call, handler: Callable[..., Payload]
) -> Callable[[BaseException], dict[str, Payload]]:
    """Return what describes an exception of one item: the author may have meant a list."""
    if hasattr(handler, registry.ITEM_MARK):
        return exception_error
    return _told_of_item


def _told_of_item(error: BaseException) -> dict[str, Payload]:
    told = exception_error(error)
    if type(error) in _ODD and _NO_LIST.search(told["message"]):
        told["gave"] = "item"
    return told


def is_unsaid(call: Call, handler: Callable[..., Payload] | None) -> bool:
    """Tell whether a function got the list though nothing says that it takes one."""
    if call.target[0] != "function" or handler is None or call.context.get("as") is not None:
        return False
    return _takes.takes(handler).why in ("nothing", "annotations")
