"""Errors from BEAM as exceptions: those of handlers as what they were, with their traceback."""

from __future__ import annotations

import builtins
import sys
from typing import TYPE_CHECKING

from slither import _main
from slither._errors import (
    CallError,
    CallTimeout,
    EncodeError,
    HandlerError,
    WorkerDied,
)

if TYPE_CHECKING:
    from slither._types import Payload

# Where these are raised they mean something else.
_NOT_HERE = (StopIteration, StopAsyncIteration)
_KINDS: dict[str, type[CallError]] = {"timeout": CallTimeout, "worker_died": WorkerDied}


class RemoteTraceback(Exception):
    """The traceback in the worker, as the cause of the exception that is raised here."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        """Show the text on lines of its own."""
        return f'\n"""\n{self.text.rstrip()}\n"""'


def to_exception(fault: dict[str, Payload]) -> Exception:
    """Make the exception of an error map."""
    kind, message = fault["kind"], fault["message"]
    if kind == "python_exception":
        return _raised(fault)
    if kind == "not_encodable" and ": " in message:
        path, reason = message.split(": ", 1)
        error: Exception = EncodeError(path, reason)
        error.facts = fault  # type: ignore[attr-defined]
        return error
    made = _KINDS.get(kind, CallError)(message, fault)
    if "traceback" in fault:
        made.__cause__ = RemoteTraceback(fault["traceback"])
    return made


def _raised(fault: dict[str, Payload]) -> Exception:
    error = _again(fault)
    if error is None:
        message = f"{fault.get('type', 'Exception')}: {fault['message']}"
        error = HandlerError(message, fault)
    error.__cause__ = RemoteTraceback(str(fault.get("traceback", fault["message"])))
    return error


def _again(fault: dict[str, Payload]) -> Exception | None:
    """Make the exception anew where its class is known here and takes its arguments."""
    arguments = fault.get("args")
    found = _class(str(fault.get("module")), str(fault.get("type")))
    if found is None or not isinstance(arguments, list):
        return None
    try:
        error = found(*arguments)
    except Exception:  # noqa: BLE001 - the user's code, which may want other arguments
        return None
    return error if type(error) is found else None


def _class(module: str, name: str) -> type[Exception] | None:
    # Only what this program has loaded by itself: an error never imports anything.
    where = builtins if module == "builtins" else sys.modules.get(_here(module))
    found = getattr(where, name, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    return None if issubclass(found, _NOT_HERE) else found


def _here(module: str) -> str:
    return "__main__" if module == _main.NAME else module
