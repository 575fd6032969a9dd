"""Exceptions of the user's code as error maps, without Slither's own frames in their tracebacks.

Called in whatever thread has caught one: the main thread, for calls and start hooks, most of all.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from slither._errors import UnknownBlob
from slither._types import Payload
from slither._wire.faults import MAX_TEXT, clean, describe
from slither._worker import current
from slither._worker.raised import raised, said
from slither._worker.refused import later

observe: Callable[[BaseException], object] | None = None
"""What sees each exception that is told of, such as a debugger."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# When a module fails on import, frames of importlib stand between Slither's and the module's.
_OURS = (_PACKAGE, "<frozen importlib")


def exception_error(error: BaseException) -> dict[str, Payload]:
    """Describe an exception, with its traceback but without Slither's own frames."""
    if observe is not None:
        observe(error)
    try:
        fault = _describe(error)
    except MemoryError:
        # The frames of the failed code may hold all the memory, so clear them and try again.
        traceback.clear_frames(error.__traceback__)
        fault = _describe(error)
    if current.serving is not None:
        current.serving.raised(error, fault)
    return fault


def _describe(error: BaseException) -> dict[str, Payload]:
    if type(error) is UnknownBlob:
        # No code of the user's was wrong.
        return describe("unknown_blob", str(error))
    told = raised(error)
    message = said(error)
    try:
        report = traceback.TracebackException.from_exception(error)
        _strip(report)
        text = "".join(report.format())
    except BaseException:  # noqa: BLE001 - the user's exception may break while it is shown
        text = message
    name = told[0]["type"].rpartition(".")[2]
    facts = describe("exception", message, type=name, traceback=_ends(text), raised=told)
    if (after := later(error)) is not None:
        facts["retry_after"] = after
    objects = current.objects
    if objects is not None and (data := objects.error(error)) is not None:
        facts["pickled"] = data
    return facts


def _ends(text: str) -> str:
    """Cut a long text in its middle: what was raised stands at its end."""
    if len(text) <= MAX_TEXT:
        return clean(text)
    half = MAX_TEXT // 2 - 40
    return clean(f"{text[:half]}\n… ({len(text)} characters)\n{text[-half:]}")


def _strip(report: traceback.TracebackException) -> None:
    seen: set[int] = set()
    queue: list[traceback.TracebackException | None] = [report]
    while queue:
        part = queue.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        kept = [entry for entry in part.stack if not entry.filename.startswith(_OURS)]
        part.stack = traceback.StackSummary.from_list(kept)
        queue += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
