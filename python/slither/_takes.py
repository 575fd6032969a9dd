"""What a function takes: one item, or the list of a batch's items.

What is said where a function is given (``each=``) wins; else its mark does, by a decorator of
:mod:`slither.worker`; else its annotations. A first parameter that is a list, with a result that
is one or an iterator, means a list. All others take one item, those without annotations included.

Pure but for the marks; called in a worker's main thread for each call, and in the thread that
names a function: by pipes, the driver, tests and ``slither check``.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from slither import _annotations
from slither._annotations import NOTHING, says
from slither._references import ITEM_MARK
from slither._weakly import weakly

BATCH_MARK = "__slither_batch_handler__"
"""Marks a function that takes the list of a batch's items."""
FRAME_MARK = "__slither_frame__"
"""Marks a function that takes its batch as a frame, and holds its kind."""

FrameKind: TypeAlias = Literal["pandas", "polars", "arrow"]
KINDS: tuple[FrameKind, ...] = ("pandas", "polars", "arrow")

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

_SENT_AS_LISTS = (list, tuple)
# Functions that have no place for a mark, such as built-in ones and methods of an object.
_unmarkable: list[Callable[..., object]] = []


class Takes(NamedTuple):
    """What a function takes, and what says so.

    ``depth`` is how many lists within one another an item is, by annotations that say a list.
    """

    what: Way
    why: Literal["item_handler", "batch_handler", "annotations", "nothing"]
    depth: int = 0


def mark_batch(function: Callable[..., object]) -> None:
    """Mark a function as one of a list, unless it is marked as one of an item."""
    if getattr(function, ITEM_MARK, 0) or is_batch(function):
        return
    try:
        setattr(function, BATCH_MARK, True)
    except (AttributeError, TypeError):
        _unmarkable.append(function)


def mark_frame(function: Callable[..., object], kind: FrameKind) -> None:
    """Mark a function as one of a frame; TypeError for what has no place for a mark."""
    _mark(function, FRAME_MARK, kind, f"as_={kind!r} marks")


def mark_off(function: Callable[..., object], mark: str, option: str, value: bool) -> None:
    """Have a mark of a function be False where an option of its decorator is.

    TypeError for what has no place for a mark, and for another ``value`` than True or False.
    """
    if value is False:
        _mark(function, mark, False, f"{option}=False goes with")
    elif value is not True:
        raise TypeError(f"{option} is True or False, not {value!r:.80}")


def _mark(function: Callable[..., object], mark: str, value: object, what: str) -> None:
    try:
        setattr(function, mark, value)
    except (AttributeError, TypeError):
        raise TypeError(f"{what} a function of yours, not {function!r}") from None


def frame(function: object) -> FrameKind | None:
    """Return the kind of frame that a function takes its batch as, by its mark."""
    kind: FrameKind | None = getattr(function, FRAME_MARK, None)
    return kind


def checked_frame(
    function: object, asked: FrameKind | None, each: bool | None = None
) -> FrameKind | None:
    """Return what frame a function gets; TypeError where that is not what it says of itself."""
    marked = frame(function)
    kind = marked if asked is None else asked
    if kind is None:
        return None
    if each or getattr(function, ITEM_MARK, 0) != 0:
        by = "each=True" if each else "the mark @slither.worker.item_handler"
        raise TypeError(
            f"as {kind} a batch is one frame, and by {by} the function takes one item"
        )
    if marked not in (None, kind):
        raise TypeError(
            f"the function is marked as one of a frame of {marked}: as {kind} it can't be called"
        )
    return kind


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
    return _by_annotations(function)


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


def way(function: object, each: bool | None) -> str:
    """Return what a pipe's document says that a function takes; TypeError as of :func:`given`.

    ``each`` where the worker is to decide: of a function that is named by a text alone, and of
    one that says a list by its annotations, as an item that is a list leaves a doubt, and a list
    without a result beside it is a slip that ``slither check`` tells of.
    """
    if not callable(function):
        return "each" if each is None else "item" if each else "list"
    found = given(function, each)
    if each is None and found.why in ("annotations", "nothing") and _says_list(function):
        return "each"
    return found.what


def conflict(function: Callable[..., object], found: Takes) -> str:
    """Say that what was said of a function is not what its mark says."""
    return f"{marked(function, found)}: leave out each={found.what == 'list'}, or the mark"


def marked(function: Callable[..., object], found: Takes) -> str:
    """Say what a function takes by its mark, to readers of either language."""
    name = getattr(function, "__qualname__", type(function).__name__)
    what = "a list of items" if found.what == "list" else "one item"
    return f"{name} is marked with @slither.worker.{found.why}, so it takes {what}"


def not_several(function: Callable[..., object]) -> str:
    """Say that a function marked as one of a list can't be called with several arguments."""
    name = getattr(function, "__qualname__", type(function).__name__)
    return (
        "several iterables go with a function that takes an item of each: "
        f"{name} is marked with @slither.worker.batch_handler, so it takes one list of items; "
        "zip the iterables, or give a function without that mark"
    )


def doubt(function: Callable[..., object], found: Takes, items: list[object]) -> str | None:
    """Say why nobody can tell what a function is to get; None where all is clear.

    A list of items looks like one item that is a list.
    """
    if found.what == "item" or found.why != "annotations":
        return None
    if not any(type(item) in _SENT_AS_LISTS and _nesting(item) > found.depth for item in items):
        return None
    name = getattr(function, "__qualname__", type(function).__name__)
    return (
        f"{name} takes a list by its annotations, and an item is a list itself: say each=True "
        "where the function takes one item, or each=False where it takes the list of a batch's "
        "items"
    )


def _says_list(function: Callable[..., object]) -> bool:
    said = says(function)
    if said.parameter is NOTHING or not _annotations.is_list(said.parameter):
        return False
    return said.result is NOTHING or _annotations.gives_many(said.result)


def _nesting(item: typing.Any) -> int:
    deep = 0
    while type(item) in _SENT_AS_LISTS and deep <= _annotations.DEEPEST:
        deep += 1
        item = item[0] if item else None
    return deep


@weakly
def _by_annotations(function: Callable[..., object]) -> Takes:
    said = says(function)
    if said.parameter is NOTHING:
        return Takes("item", "nothing")
    if not _annotations.is_list(said.parameter):
        return Takes("item", "annotations")
    if said.result is NOTHING or not _annotations.gives_many(said.result):
        return Takes("item", "nothing" if said.result is NOTHING else "annotations")
    return Takes("list", "annotations", _annotations.depth(said.parameter) - 1)


def contradiction(
    function: Callable[..., object], document: str, many: bool = False
) -> tuple[bool, str] | None:
    """Say where a function's annotations, its mark, and a pipe's document contradict each other.

    ``document`` is what that says the function takes: ``item``, ``list`` or ``each``; with
    ``many`` each item has many results. The first of the two is whether it fails for certain;
    else it may be meant so. What gets its batch as a frame is annotated as its package likes.
    """
    if frame(function) is not None:
        return None
    found = takes(function)
    marked = found.why in ("item_handler", "batch_handler")
    if marked and document not in ("each", found.what):
        return True, conflict(function, found)
    said = says(function)
    one = (found.what if document == "each" or marked else document) == "item"
    by = f"@slither.worker.{found.why}" if marked else f"each={one}"
    parameter = f"{said.name}: {_annotations.shown(said.parameter)}"
    result = _annotations.shown(said.result)
    if one and not many and _annotations.yields(said.result):
        return True, f"it gives {result} for one item, of which there is one result"
    is_one = not _annotations.gives_many(said.result)
    is_no_list = is_one and _annotations.no_list(_annotations.awaited(said.result))
    if one and many and is_no_list:
        return True, f"it gives {result} for one item, and cardinality='many' takes a list"
    if not one and _annotations.no_list(said.parameter):
        return True, f"it takes a list of items by {by}, and says {parameter}"
    if not one and is_no_list:
        return True, f"it returns a list of results by {by}, and says {result}"
    if not one or not _annotations.is_list(said.parameter):
        return None
    if document == "each" and not marked and said.result is NOTHING:
        return False, (
            f"it takes one item, as {parameter} has no result beside it: annotate the result, "
            "or say each="
        )
    if (document == "item" or marked) and not is_one:
        return False, f"it takes one item by {by}, and says {parameter} -> {result}"
    return None
