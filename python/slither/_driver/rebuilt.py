"""Exceptions that were raised in a worker, made again as they were.

An error names classes and says what their objects hold. If the program has loaded such a class
itself, or the class is one of a few of the standard library,
:mod:`slither._driver.exception_objects` makes and fills its object. Otherwise a
:class:`slither.HandlerError` takes its place, which is also an instance of the built-in
exceptions that the class derives from.

Called by :mod:`slither._driver.errors_in`, in the thread that asks for the result.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import re
from collections.abc import Callable, Sequence
from typing import cast

from slither._driver.exception_objects import (
    BASE,
    Told,
    class_of,
    filled,
    new,
    own,
    set_attribute,
    slot_of,
)
from slither._errors import HandlerError

_ARGUMENT = re.compile(r"args\[(\d{1,4})\]")
# These end an iteration when raised, and a HandlerError derived from them would do so, too.
_NEVER_A_BASE = (StopIteration, StopAsyncIteration)


def rebuilt(fault: Told, fits: Callable[[type[BaseException]], bool]) -> BaseException:
    """Make the exception of a fault, with those it refers to; ``fits`` says of which classes."""
    kind, message = str(fault.get("type", "Exception")), fault["message"]
    bare = {"type": kind, "module": "", "message": message, "bases": []}
    return _Making(fault.get("raised") or [bare], fault, fits).first()


def left_out(fault: Told) -> list[str]:
    """Return, in words, what of the exceptions of a fault could not be sent."""
    words = []
    for place, told in enumerate(fault.get("raised") or ()):
        owner = f" of {told['type']}" if place else ""
        words += [f"{path}{owner} ({name})" for path, name in told.get("left_out", {}).items()]
    return words


class _Making:
    """The exceptions of one fault; they refer to one another by their places in its list."""

    def __init__(
        self, told: Sequence[Told], fault: Told, fits: Callable[[type[BaseException]], bool]
    ) -> None:
        self._told, self._fault, self._fits = told, fault, fits
        self._made: list[BaseException | None] = [None] * len(told)

    def first(self) -> BaseException:
        # A group needs its parts first, which mostly
        # follow it in the list: so begin at the end.
        waiting: Sequence[int] = range(len(self._told) - 1, -1, -1)
        while waiting:
            later = [place for place in waiting if not self._make(place)]
            if len(later) == len(waiting):
                # Only groups are left that contain one another, which can't be made.
                for place in later:
                    self._made[place] = self._unknown(place, [])
                break
            waiting = later
        for place in range(len(self._told)):
            self._refer(place)
        return self._at(0)

    def _at(self, place: int) -> BaseException:
        return cast("BaseException", self._made[place])

    def _make(self, place: int) -> bool:
        told = self._told[place]
        parts = [self._made[part] for part in told.get("exceptions", ())]
        if None in parts:
            return False
        found = class_of(told["module"], told["type"])
        error = None
        if found is not None and (place > 0 or self._fits(found)):
            error = filled(found, told, cast("list[BaseException]", parts))
        if error is None or (told.get("left_out") and not _says(error)):
            error = self._unknown(place, cast("list[BaseException]", parts))
        if notes := told.get("notes"):
            own(error)["__notes__"] = list(notes)
        self._made[place] = error
        return True

    def _unknown(self, place: int, parts: list[BaseException]) -> HandlerError:
        told = self._told[place]
        kind, message = told["type"].rpartition(".")[2], told["message"]
        facts = {"kind": "python_exception", "message": message, "type": kind, "raised": [told]}
        if place == 0:
            facts, message = self._fault, self._fault["message"]
        return handler_error(tuple(told["bases"]), f"{kind}: {message}", facts, parts)

    def _refer(self, place: int) -> None:
        told, error = self._told[place], self._at(place)
        cause, context = told.get("cause"), told.get("context")
        if cause is not None:
            BASE["__cause__"].__set__(error, self._at(cause))
        if context is not None:
            BASE["__context__"].__set__(error, self._at(context))
        BASE["__suppress_context__"].__set__(error, told.get("suppress_context", False))
        if type(error) is not class_of(told["module"], told["type"]):
            return
        arguments = list(BASE["args"].__get__(error))
        for path, held in told.get("held", {}).items():
            argument = _ARGUMENT.fullmatch(path)
            if argument is None:
                with contextlib.suppress(Exception):
                    set_attribute(error, path, self._at(held))
            elif (index := int(argument[1])) < len(arguments):
                arguments[index] = self._at(held)
        BASE["args"].__set__(error, tuple(arguments))


def _says(error: BaseException) -> bool:
    """Tell whether str() works without what could not be sent: NumPy's name their ufunc there."""
    try:
        str(error)
    except Exception:  # noqa: BLE001 - __str__ is the user's code
        return False
    return True


def handler_error(
    bases: tuple[str, ...], message: str, facts: Told, parts: Sequence[BaseException] = ()
) -> HandlerError:
    """Make the error that takes the place of one that can't be made, of the bases it had."""
    found = _variant(bases)
    made = new(found, message, parts)
    if made is None:
        found = HandlerError
        made = found.__new__(found)
    own(made).update(message=message, facts=dict(facts))
    BASE["args"].__set__(made, (message, facts))
    told = (facts.get("raised") or [{}])[0]
    for name, value in told.get("attributes", {}).items():
        # Sets only slots of the built-in bases, such as errno.
        if slot_of(found, name) is not None:
            with contextlib.suppress(Exception):
                set_attribute(made, name, value)
    return cast("HandlerError", made)


@functools.lru_cache(maxsize=256)
def _variant(names: tuple[str, ...]) -> type[HandlerError]:
    known = [vars(builtins).get(name) for name in names]
    bases = [
        base
        for base in known
        if isinstance(base, type)
        and issubclass(base, Exception)
        and not issubclass(base, _NEVER_A_BASE)
        and not issubclass(HandlerError, base)
    ]
    if not bases:
        return HandlerError
    space: dict[str, object] = {
        "__module__": HandlerError.__module__,
        "__qualname__": HandlerError.__qualname__,
        "__doc__": HandlerError.__doc__,
        "__reduce__": lambda error: (
            handler_error,
            (names, str(error), error.facts, tuple(getattr(error, "exceptions", ()))),
        ),
    }
    try:
        return type(HandlerError.__name__, (HandlerError, *bases), space)
    except TypeError:
        # Two of these bases can't be combined, so no real class has both: the names are false.
        return HandlerError
