"""Exceptions that were raised in a worker, made again as they were.

An error names classes and says what their objects hold. A class is one that this program has
loaded by itself, or one of few of the standard library: nothing else is imported, nothing
unpickled. Its object is made by the ``__new__`` of the built-in exception that it is of, and
filled as C fills it: no ``__init__``, no property, no ``__setattr__`` of anybody's runs. Where
that can't be, a :class:`slither.HandlerError` takes its place, which is also an instance of the
built-in exceptions that the class is of.

Called by :mod:`slither._driver.errors_in`, in the thread that asks for the result.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import cast

from slither._classes import Slot, as_slot, mro, name_of, space
from slither._errors import HandlerError
from slither._references import SCRIPT
from slither._types import Payload

Told = dict[str, "Payload"]

_BASE = vars(BaseException)
_GROUP: type[BaseException] | None = getattr(builtins, "BaseExceptionGroup", None)
# A program may meet exceptions of these modules without importing them itself.
_STANDARD = frozenset(
    ("decimal", "http.client", "json.decoder", "socket", "ssl", "subprocess", "urllib.error")
) | frozenset(("asyncio.exceptions", "binascii", "queue", "sqlite3", "struct", "zipfile", "zlib"))
_ARGUMENT = re.compile(r"args\[(\d{1,4})\]")
_HTTP_ERROR = ("urllib.error", "HTTPError")
# The type of what ``object`` is in each of these.
_OF_TEXT = {UnicodeDecodeError: bytes, UnicodeEncodeError: str, UnicodeTranslateError: str}
# These end an iteration where they are raised, and so would a HandlerError that is one of them.
_NEVER_A_BASE = (StopIteration, StopAsyncIteration)


class NotSent:
    """Stands in the place of an argument that could not be sent, and looks like it."""

    __slots__ = ("_repr", "_text")

    def __init__(self, shown: str, text: str) -> None:
        """Keep what the argument looked like, in an exception's text and alone."""
        self._repr, self._text = shown, text

    def __repr__(self) -> str:
        """Look as the argument did."""
        return self._repr

    def __str__(self) -> str:
        """Look as the argument did."""
        return self._text


def rebuilt(fault: Told, fits: Callable[[type[BaseException]], bool]) -> BaseException:
    """Make the exception of a fault, with those it refers to; ``fits`` says of which classes."""
    told = fault.get("raised") or [_bare(fault)]
    return _Making(told, fault, fits).first()


def left_out(fault: Told) -> list[str]:
    """Return, in words, what of the exceptions of a fault could not be sent."""
    words = []
    for place, told in enumerate(fault.get("raised") or ()):
        owner = f" of {told['type']}" if place else ""
        words += [f"{path}{owner} ({name})" for path, name in told.get("left_out", {}).items()]
    return words


def _bare(fault: Told) -> Told:
    kind = str(fault.get("type", "Exception"))
    return {"type": kind, "module": "", "message": fault["message"], "bases": []}


class _Making:
    """The exceptions of one fault; they refer to one another by their places in its list."""

    def __init__(
        self, told: Sequence[Told], fault: Told, fits: Callable[[type[BaseException]], bool]
    ) -> None:
        self._told, self._fault, self._fits = told, fault, fits
        self._made: list[BaseException | None] = [None] * len(told)

    def first(self) -> BaseException:
        # The parts of a group are made before it, and mostly stand after it in the list.
        waiting: Sequence[int] = range(len(self._told) - 1, -1, -1)
        while waiting:
            later = [place for place in waiting if not self._make(place)]
            if len(later) == len(waiting):
                # What is left are groups that are parts of one another.
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
        found = _class(told["module"], told["type"])
        error = None
        if found is not None and (place > 0 or self._fits(found)):
            error = _filled(found, told, cast("list[BaseException]", parts))
        if error is None:
            error = self._unknown(place, cast("list[BaseException]", parts))
        if notes := told.get("notes"):
            _own(error)["__notes__"] = list(notes)
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
            _BASE["__cause__"].__set__(error, self._at(cause))
        if context is not None:
            _BASE["__context__"].__set__(error, self._at(context))
        _BASE["__suppress_context__"].__set__(error, told.get("suppress_context", False))
        if type(error) is not _class(told["module"], told["type"]):
            return
        arguments = list(_BASE["args"].__get__(error))
        for path, held in told.get("held", {}).items():
            argument = _ARGUMENT.fullmatch(path)
            if argument is None:
                with contextlib.suppress(Exception):
                    _set(error, path, self._at(held))
            elif (index := int(argument[1])) < len(arguments):
                arguments[index] = self._at(held)
        _BASE["args"].__set__(error, tuple(arguments))


def handler_error(
    bases: tuple[str, ...], message: str, facts: Told, parts: Sequence[BaseException] = ()
) -> HandlerError:
    """Make the error that takes the place of one that can't be made, of the bases it had."""
    found = _variant(bases)
    made = _new(found, message, parts)
    if made is None:
        found = HandlerError
        made = found.__new__(found)
    _own(made).update(message=message, facts=dict(facts))
    _BASE["args"].__set__(made, (message, facts))
    told = (facts.get("raised") or [{}])[0]
    for name, value in told.get("attributes", {}).items():
        # What the built-in base holds, such as errno.
        if _slot(found, name) is not None:
            with contextlib.suppress(Exception):
                _set(made, name, value)
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
        # No class can be of all these; one could not when it was raised, either.
        return HandlerError


def _class(module: str, name: str) -> type[BaseException] | None:
    """Return an exception's class, where this program has loaded it by itself."""
    if module in _STANDARD:
        importlib.import_module(module)
    found: object = sys.modules.get(_here(module))
    if not isinstance(found, ModuleType):
        return None
    # A module's own __getattr__ is code, too.
    names = object.__getattribute__(found, "__dict__")
    for part in name.split("."):
        found = names.get(part)
        if not isinstance(found, type):
            return None
        names = space(found)
    kind = cast("type[BaseException]", found)
    return kind if BaseException in mro(kind) else None


def _here(module: str) -> str:
    return "__main__" if module == SCRIPT else module


def _new(
    found: type[BaseException], message: str, parts: Sequence[BaseException]
) -> BaseException | None:
    """Make an object by the __new__ of the nearest built-in class; None where it can't be."""
    for part in mro(found):
        if "__new__" in space(part) and vars(builtins).get(name_of(part)) is part:
            arguments = (message, list(parts)) if part is _GROUP else ()
            try:
                made: BaseException = part.__new__(found, *arguments)
            except Exception:  # noqa: BLE001 - a class of C that is made in another way, say
                return None
            return made if type(made) is found else None
    return None


def _filled(
    found: type[BaseException], told: Told, parts: Sequence[BaseException]
) -> BaseException | None:
    made = _new(found, told["message"], parts)
    if made is None:
        return None
    tuples = told.get("tuples", ())
    try:
        if "args" in told:
            _BASE["args"].__set__(made, _arguments(found, told))
        for name, value in told.get("attributes", {}).items():
            _set(made, name, tuple(value) if name in tuples else value)
        if (found.__module__, name_of(found)) == _HTTP_ERROR:
            _open_http_error(made)
        return made if _is_sound(made) else None
    except Exception:  # noqa: BLE001 - a slot of C that takes no such value, or has none
        return None


def _open_http_error(error: BaseException) -> None:
    """Give it a body: it asks that for whatever it does not have itself. Its own is not sent."""
    from http.client import HTTPMessage
    from urllib.response import addinfourl

    own = _own(error)
    if not {"code", "msg"} <= own.keys():
        raise ValueError("its text is made of these")
    headers = HTTPMessage()
    for name, text in own.get("hdrs") or ():  # type: ignore[attr-defined]
        headers[name] = text
    # HTTPError calls this `__init__` of the standard library's itself, later.
    addinfourl.__init__(error, io.BytesIO(), headers, own.get("url"), own.get("code"))  # type: ignore
    own.update(fp=None, hdrs=headers)
    # From Python 3.14 on one that is left open gives a warning, but nothing is open here.
    if "_closer" in own:
        own["_closer"].close_called = True  # type: ignore[attr-defined]


def _arguments(found: type[BaseException], told: Told) -> tuple[object, ...]:
    given, tuples, unsent = told["args"], told.get("tuples", ()), told.get("left_out", {})
    plain = len(given) == 1 and _text_of(found) is BaseException
    made: list[object] = []
    for index, value in enumerate(given):
        path = f"args[{index}]"
        if path in tuples:
            made.append(tuple(value))
        elif unsent.get(path, "str") != "str" and isinstance(value, str):
            made.append(NotSent(value, told["message"] if plain else value))
        else:
            made.append(value)
    return tuple(made)


def _text_of(found: type) -> type:
    return next(part for part in mro(found) if "__str__" in space(part))


def _is_sound(error: BaseException) -> bool:
    # C code trusts that these fields fit the text, and would read beyond it where they do not.
    for kind, wanted in _OF_TEXT.items():
        if kind in mro(type(error)):
            held = [space(kind)[name].__get__(error) for name in ("object", "start", "end")]
            size = len(held[0]) if type(held[0]) is wanted else -1
            return bool(0 <= held[1] <= size and 0 <= held[2] <= size)
    return True


def _set(error: BaseException, name: str, value: object) -> None:
    slot = _slot(type(error), name)
    if slot is None:
        _own(error)[name] = value
    else:
        slot.__set__(error, value)


def _slot(owner: type, name: str) -> Slot | None:
    for part in mro(owner):
        if name in space(part):
            return as_slot(space(part)[name], part)
    return None


def _own(error: BaseException) -> dict[str, object]:
    return cast("dict[str, object]", _BASE["__dict__"].__get__(error))
