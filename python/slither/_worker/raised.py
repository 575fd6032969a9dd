"""An exception as data, from which a program can make it again, or read what it held.

Apart from ``str()`` this runs no code of the exception's class: it reads attributes, arguments
and the chain where BaseException and classes of C store them. The result can always be sent.
:mod:`slither._worker.errors_out` calls this for each exception.
"""

from __future__ import annotations

import builtins
import reprlib
import sys
from typing import cast

from slither._classes import mro, name_of, slots, space
from slither._types import Payload
from slither._wire.checks import MAX_EXCEPTIONS
from slither._wire.codec import decode, encode_once
from slither._wire.faults import clean
from slither._wire.types.table import becomes_data

MAX_VALUE = 65_536
"""Bytes of one argument or attribute."""
MAX_VALUES = 262_144
"""Bytes of all that are sent for one that was raised."""
MAX_NESTING = 100
"""Containers within one another in an argument or an attribute."""

_MANY = 1_000
_SHORT = 1_000
_LEFT_OUT = object()

_BASE = vars(BaseException)
_GROUP: type[BaseException] | None = getattr(builtins, "BaseExceptionGroup", None)


def raised(error: BaseException) -> list[dict[str, Payload]]:
    """Return what is sent of the exception and of those it refers to, itself first."""
    telling = _Telling(error)
    # The list grows during the loop, as each exception may refer to others.
    return [_Parts(telling, each).tell() for each in telling.found]


def module_of(error: BaseException) -> str:
    """Return the name of the module that an exception's class says it is from."""
    owner = type(error)
    named = space(owner).get("__module__")
    # The namespace of a built-in class has no such attribute:
    # only the descriptor of `type` knows its module.
    found = type.__dict__["__module__"].__get__(owner) if named is None else named
    return found if type(found) is str else "unknown"


def said(error: BaseException) -> str:
    """Return an exception's text, or its name where it has none."""
    name = name_of(type(error)).rpartition(".")[2]
    try:
        # join() makes a plain str even of a subclass of str.
        return "".join((str(error),)) or name
    except BaseException:  # noqa: BLE001 - __str__ is the user's code
        return f"{name} (its str() failed)"


class _Telling:
    """Those that are told of for one exception, and how many bytes are left for them."""

    def __init__(self, error: BaseException) -> None:
        self.found = [error]
        self._places = {id(error): 0}
        self._room = MAX_VALUES

    def place(self, error: BaseException) -> int | None:
        """Return the place in the list of an exception; None where there is no room for it."""
        place = self._places.get(id(error))
        if place is None and len(self.found) < MAX_EXCEPTIONS:
            place = self._places[id(error)] = len(self.found)
            self.found.append(error)
        return place

    def sent(self, value: object) -> tuple[Payload] | None:
        """Return what a value is once it was sent, in a tuple; None where it can't be."""
        try:
            if not _is_small(value):
                return None
            packed = encode_once(value, MAX_NESTING, small=True)
            if packed is None or len(packed) > min(MAX_VALUE, self._room):
                return None
            self._room -= len(packed)
            return (decode(packed, MAX_NESTING),)
        except BaseException:  # noqa: BLE001 - a subclass, or a timezone, is the user's code
            return None

    def text(self, text: str, limit: int) -> str:
        """Return what of a text is sent."""
        text = clean(text, max(_SHORT, min(limit, self._room)))
        self._room -= len(text)
        return text


class _Parts:
    """The parts of one exception; those that can't be sent are named in ``left_out``."""

    def __init__(self, telling: _Telling, error: BaseException) -> None:
        self._telling, self._error = telling, error
        self._told: dict[str, Payload] = {}
        self._is_group = _GROUP is not None and _GROUP in mro(type(error))

    def tell(self) -> dict[str, Payload]:
        told, error = self._told, self._error
        told["type"] = clean(name_of(type(error)), _SHORT)
        told["module"] = clean(module_of(error), _SHORT)
        told["bases"] = _bases(type(error))
        told["message"] = clean(said(error), _SHORT)
        self._refer("cause", _BASE["__cause__"].__get__(error))
        self._refer("context", _BASE["__context__"].__get__(error))
        if _BASE["__suppress_context__"].__get__(error):
            told["suppress_context"] = True
        if self._is_group:
            self._group()
        else:
            self._arguments(_BASE["args"].__get__(error))
        self._attributes()
        return told

    def _refer(self, name: str, other: BaseException | None) -> None:
        if other is not None and (place := self._telling.place(other)) is not None:
            self._told[name] = place
        elif other is not None:
            self._leave_out(name, other)

    def _group(self) -> None:
        # The arguments of a group are its message and its parts.
        held = space(cast("type", _GROUP))
        message, members = (held[name].__get__(self._error) for name in ("message", "exceptions"))
        self._told["message"] = self._telling.text(str.__str__(message), MAX_VALUE)
        places = [self._telling.place(part) for part in members]
        self._told["exceptions"] = [place for place in places if place is not None]
        for index in [index for index, place in enumerate(places) if place is None][:1]:
            self._leave_out(f"exceptions[{index}…{len(members) - 1}]", members[index])

    def _arguments(self, arguments: tuple[object, ...]) -> None:
        told = self._told["args"] = []
        for index, value in enumerate(arguments[:_MANY]):
            sent = self._value(f"args[{index}]", value)
            # A value that can't be sent is replaced by
            # text, so that the others keep their places.
            told.append(self._shown(value) if sent is _LEFT_OUT else sent)
        if len(arguments) > _MANY:
            self._leave_out(f"args[{_MANY}…{len(arguments) - 1}]", arguments[-1])

    def _attributes(self) -> None:
        own = dict(_BASE["__dict__"].__get__(self._error))
        notes = own.pop("__notes__", None)
        if notes is not None:
            self._notes(notes)
        for name, slot in slots(type(self._error)):
            try:
                value = slot.__get__(self._error)
            except Exception:  # noqa: BLE001 - it is not set, or code of C, which may raise any
                continue
            # In classes of C most slots are None until they are set.
            if value is not None:
                own[name] = value
        if self._is_group:
            own = {name: own[name] for name in own if name not in ("message", "exceptions")}
        told = {}
        for name, value in list(own.items())[:_MANY]:
            if type(name) is str and _is_sendable(name):
                sent = self._value(name, value)
                if sent is not _LEFT_OUT:
                    told[name] = sent
        if len(own) > _MANY:
            self._leave_out("…", own)
        if told:
            self._told["attributes"] = told

    def _notes(self, notes: object) -> None:
        texts = notes[:_MANY] if type(notes) is list else []
        told = [self._telling.text(note, MAX_VALUE) for note in texts if type(note) is str]
        if told:
            self._told["notes"] = told
        if type(notes) is not list or len(told) < len(notes):
            self._leave_out("__notes__", notes)

    def _value(self, path: str, value: object) -> Payload:
        # isinstance() would also ask the object itself, which may run code of the user's.
        if issubclass(type(value), BaseException):
            place = self._telling.place(cast("BaseException", value))
            if place is not None:
                self._told.setdefault("held", {})[path] = place
                return _LEFT_OUT
        elif (
            # An object that would come as data would have other looks.
            not becomes_data(type(value))
            and (sent := self._telling.sent(_headers(value))) is not None
        ):
            return sent[0]
        self._leave_out(path, value)
        return _LEFT_OUT

    def _shown(self, value: object) -> str:
        if type(value) is str:
            return self._telling.text(value, MAX_VALUE)
        return self._telling.text(_short_repr(value), _SHORT)

    def _leave_out(self, path: str, value: object) -> None:
        name = clean(name_of(type(value)), 200)
        self._told.setdefault("left_out", {})[clean(path, 200)] = name


def _bases(owner: type) -> list[str]:
    """Return the nearest built-in exceptions that a class is of, without what those are of."""
    found: list[type] = []
    for part in mro(owner):
        built_in = vars(builtins).get(name_of(part)) is part and BaseException in mro(part)
        if built_in and not any(part in mro(nearer) for nearer in found):
            found.append(part)
    return [name_of(part) for part in found]


def _headers(value: Payload) -> object:
    """Return the headers of an answer over HTTP as pairs; any other value as it is."""
    known = sys.modules.get("http.client")
    if known is not None and type(value) is known.HTTPMessage:
        return [[name, str(text)] for name, text in value.items()]
    return value


def _is_sendable(name: str) -> bool:
    try:
        return len(name.encode()) <= _SHORT
    except UnicodeEncodeError:
        return False


def _is_small(value: object) -> bool:
    """Tell whether a value may be small enough, with no more work than that takes."""
    left = MAX_VALUE
    stack = [value]
    while stack and left >= 0:
        item = stack.pop()
        left -= 1
        if isinstance(item, str | bytes | bytearray):
            left -= len(item)
        elif isinstance(item, memoryview) or type(item).__module__ == "numpy":
            left -= int(getattr(item, "nbytes", 0))
        elif isinstance(item, list | tuple | dict | set | frozenset):
            left -= len(item)
            if left >= 0:
                stack += [*item.keys(), *item.values()] if isinstance(item, dict) else item
    return left >= 0


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 200


def _short_repr(value: object) -> str:
    try:
        return "".join((_repr.repr(value),))
    except BaseException:  # noqa: BLE001 - __repr__ is the user's code
        return f"<{name_of(type(value))}: its repr() failed>"
