"""Exceptions of the user's code, as they are told to BEAM."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from slither._answer import clean, describe, said
from slither._codec import encode_once
from slither._walk import MAX_DEPTH

if TYPE_CHECKING:
    from slither._types import Payload

observe: Callable[[BaseException], object] | None = None
"""What sees each exception that is told of, such as a debugger."""

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def exception_error(error: BaseException) -> dict[str, Payload]:
    """Describe an exception, with its traceback but without Slither's own frames."""
    if observe is not None:
        observe(error)
    try:
        return _describe(error)
    except MemoryError:
        # It may be what failed that holds all the memory.
        traceback.clear_frames(error.__traceback__)
        return _describe(error)


def _describe(error: BaseException) -> dict[str, Payload]:
    message = said(error)
    try:
        report = traceback.TracebackException.from_exception(error)
        _strip(report)
        text = "".join(report.format())
    except Exception:  # noqa: BLE001 - the user's exception may break while it is shown
        text = message
    facts: dict[str, Payload] = {
        "type": clean(type(error).__name__),
        "module": clean(type(error).__module__),
        "traceback": clean(text),
    }
    # For a driver, which raises it again: the arguments where they are small and can be sent.
    arguments = _arguments(error)
    if _is_small(arguments):
        facts["args"] = arguments
    return describe("exception", message, **facts)


def _arguments(error: BaseException) -> list[object]:
    if isinstance(error, OSError) and len(error.args) == 2 and error.filename is not None:
        # An OSError takes the names of files out of its arguments.
        second = [] if error.filename2 is None else [None, error.filename2]
        return [*error.args, error.filename, *second]
    return list(error.args)


def _is_small(value: list[object]) -> bool:
    packed = encode_once(value, MAX_DEPTH, small=True)
    return packed is not None and len(packed) <= MAX_DEPTH


def _strip(report: traceback.TracebackException) -> None:
    seen: set[int] = set()
    queue: list[traceback.TracebackException | None] = [report]
    while queue:
        part = queue.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        kept = [entry for entry in part.stack if not _is_ours(entry.filename)]
        part.stack = traceback.StackSummary.from_list(kept)
        queue += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]


def _is_ours(filename: str) -> bool:
    # importlib's own frames stand between ours and the module that failed.
    return filename.startswith(_HERE) or filename.startswith("<frozen importlib")
