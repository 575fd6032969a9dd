"""Errors from BEAM as exceptions: those of handlers as what they were, with their traceback.

Pure; called by whatever hands results to the program, in the thread that asks for them.
"""

from __future__ import annotations

import asyncio.exceptions
import functools
import sys
from collections.abc import Callable
from typing import cast

from slither import _takes
from slither._driver.rebuilt import left_out, rebuilt
from slither._errors import (
    CallError,
    CallKilled,
    CallTimeout,
    EncodeError,
    HandlerError,
    MemoryExceeded,
    WorkerDied,
)
from slither._types import Payload
from slither._wire.objects import Objects

# If these were raised in the program, they would end its iteration, generator or task.
_STOPS = (StopIteration, StopAsyncIteration)
_ENDS = (GeneratorExit, asyncio.exceptions.CancelledError)
# Before Python 3.12.2 an asyncio future that gets a StopIteration is never done.
_IN_FUTURES = _ENDS if sys.version_info >= (3, 12, 2) else (*_STOPS, *_ENDS)
# The slots of BaseException itself, as a class may hide them behind attributes of its own.
_CAUSE, _SUPPRESS = (vars(BaseException)[name] for name in ("__cause__", "__suppress_context__"))
_KINDS: dict[str, type[CallError]] = {
    "timeout": CallTimeout,
    "memory": MemoryExceeded,
    "worker_died": WorkerDied,
    "killed": CallKilled,
}
# What to do where a function got a list for an item, or an item for a list.
_GAVE: dict[Payload, str] = {"list": _takes.ONE, "item": _takes.MANY}


class RemoteTraceback(Exception):
    """The traceback in the worker, as the cause of the exception that is raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


def to_exception(fault: dict[str, Payload], objects: Objects | None = None) -> BaseException:
    """Make the exception of an error map, for a future: as the handler raised it."""
    return _made(fault, lambda found: not issubclass(found, _IN_FUTURES), objects)


def to_error(fault: dict[str, Payload], objects: Objects | None = None) -> Exception:
    """Make the exception of an error map, where results are told from it by its type.

    What is no Exception, such as a handler's SystemExit, is a HandlerError: it would end the
    program's loop over results, and not be seen among them.
    """

    def fits(found: type[BaseException]) -> bool:
        return issubclass(found, Exception) and not issubclass(found, _STOPS)

    return cast("Exception", _made(fault, fits, objects))


def _made(
    fault: dict[str, Payload],
    fits: Callable[[type[BaseException]], bool],
    objects: Objects | None,
) -> BaseException:
    kind, message = fault["kind"], fault["message"]
    if kind == "python_exception":
        error = rebuilt(fault, fits)
        if objects is not None and "pickled" in fault:
            error = _itself(error, fault, fits, objects)
        _trace(error, fault)
        return error
    if kind == "not_encodable" and ": " in message:
        path, reason = message.split(": ", 1)
        unsent = EncodeError(path, reason)
        unsent.facts = fault
        return unsent
    if (gave := _GAVE.get(fault.get("gave"))) is not None:
        message = f"{message}; {gave}"
    made = _kind(kind)(message, fault)
    if "traceback" in fault:
        _trace(made, fault)
    return made


def _kind(kind: str) -> type[CallError]:
    pools = sys.modules.get("concurrent.futures.process")
    if kind == "worker_died" and pools is not None:
        return _broken(pools.BrokenProcessPool)
    return _KINDS.get(kind, CallError)


@functools.cache
def _broken(base: type[Exception]) -> type[CallError]:
    """Return what takes the place of WorkerDied where a program may expect ``base``, too."""
    space = {
        "__module__": WorkerDied.__module__,
        "__qualname__": WorkerDied.__qualname__,
        "__doc__": WorkerDied.__doc__,
        "__reduce__": lambda error: (WorkerDied, (str(error), error.facts)),
    }
    return type(WorkerDied.__name__, (WorkerDied, base), space)


def _itself(
    error: BaseException,
    fault: dict[str, Payload],
    fits: Callable[[type[BaseException]], bool],
    objects: Objects,
) -> BaseException:
    """Return the exception itself, where what was made of it is not all that it was."""
    if not isinstance(error, HandlerError) and not left_out(fault):
        return error
    try:
        found = objects.error_of(fault["pickled"])
    except Exception:  # noqa: BLE001 - what unpickling runs: then what was told of it has to do
        return error
    if not isinstance(found, BaseException) or not fits(type(found)):
        return error
    for name in ("__cause__", "__context__", "__suppress_context__"):
        slot = vars(BaseException)[name]
        slot.__set__(found, slot.__get__(error))
    fault["raised"][0].pop("left_out", None)
    return found


def _trace(error: BaseException, fault: dict[str, Payload]) -> None:
    """Put the traceback where the chain of causes begins: there Python shows it first."""
    text = str(fault.get("traceback", fault["message"])).rstrip()
    if (gave := _GAVE.get(fault.get("gave"))) is not None:
        text += f"\nPerhaps {gave}"
    if missing := left_out(fault):
        text += f"\nNot sent: {', '.join(missing)}"
    first, seen = error, {id(error)}
    while (cause := _CAUSE.__get__(first)) is not None and id(cause) not in seen:
        first = cause
        seen.add(id(cause))
    suppressed = _SUPPRESS.__get__(first)
    _CAUSE.__set__(first, RemoteTraceback(text))
    _SUPPRESS.__set__(first, suppressed)
