"""The objects of exceptions, made and filled as C does it: no code of anybody's is run.

No ``__init__``, no property and no ``__setattr__`` runs, nothing is unpickled, and nothing is
imported but a few modules of the standard library. :mod:`slither._driver.rebuilt` calls it.
"""

from __future__ import annotations

import builtins
import importlib
import io
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import cast

from slither._classes import Slot, as_slot, mro, name_of, space
from slither._references import SCRIPT
from slither._types import Payload

Told = dict[str, Payload]
"""What a fault tells of one exception."""

BASE = vars(BaseException)
"""The slots that all exceptions have."""
_GROUP: type[BaseException] | None = getattr(builtins, "BaseExceptionGroup", None)
# Modules whose exceptions a program may meet without having imported them itself.
_STANDARD = frozenset(
    ("decimal", "http.client", "json.decoder", "socket", "ssl", "subprocess", "urllib.error")
) | frozenset(("asyncio.exceptions", "binascii", "queue", "sqlite3", "struct", "zipfile", "zlib"))
_HTTP_ERROR = ("urllib.error", "HTTPError")
# The type that the field ``object`` has in each of these.
_OF_TEXT = {UnicodeDecodeError: bytes, UnicodeEncodeError: str, UnicodeTranslateError: str}


class NotSent:
    """Stands in the place of an argument that could not be sent, and looks like it."""

    __slots__ = ("_repr", "_text")

    def __init__(self, shown: str, text: str) -> None:
        """Keep what the argument looked like, in an exception's text and alone."""
        self._repr, self._text = shown, text

    def __repr__(self) -> str:
        return self._repr

    def __str__(self) -> str:
        return self._text


def class_of(module: str, name: str) -> type[BaseException] | None:
    """Return an exception's class, where this program has loaded it by itself."""
    if module in _STANDARD:
        importlib.import_module(module)
    found: object = sys.modules.get("__main__" if module == SCRIPT else module)
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


def new(
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


def filled(
    found: type[BaseException], told: Told, parts: Sequence[BaseException]
) -> BaseException | None:
    """Return an object of the class that holds what is told; None where it can't be made."""
    made = new(found, told["message"], parts)
    if made is None:
        return None
    try:
        if "args" in told:
            BASE["args"].__set__(made, _arguments(found, told))
        for name, value in told.get("attributes", {}).items():
            set_attribute(made, name, value)
        if (found.__module__, name_of(found)) == _HTTP_ERROR:
            _open_http_error(made)
        return made if _is_sound(made) else None
    except Exception:  # noqa: BLE001 - a slot of C that takes no such value, or has none
        return None


def _open_http_error(error: BaseException) -> None:
    """Give it a body: it asks that for whatever it does not have itself. Its own is not sent."""
    from http.client import HTTPMessage
    from urllib.response import addinfourl

    held = own(error)
    if not {"code", "msg"} <= held.keys():
        raise ValueError("its text is made of these")
    headers = HTTPMessage()
    for name, text in held.get("hdrs") or ():  # type: ignore[attr-defined]
        headers[name] = text
    # HTTPError itself calls this `__init__`, which
    # is the standard library's, only when needed.
    addinfourl.__init__(error, io.BytesIO(), headers, held.get("url"), held.get("code"))  # type: ignore
    held.update(fp=None, hdrs=headers)
    # From Python 3.14 on, an HTTPError that is never
    # closed warns, though nothing is open here.
    if "_closer" in held:
        held["_closer"].close_called = True  # type: ignore[attr-defined]


def _arguments(found: type[BaseException], told: Told) -> tuple[object, ...]:
    given, unsent = told["args"], told.get("left_out", {})
    says = next(part for part in mro(found) if "__str__" in space(part))
    plain = len(given) == 1 and says is BaseException
    made: list[object] = []
    for index, value in enumerate(given):
        path = f"args[{index}]"
        if unsent.get(path, "str") != "str" and isinstance(value, str):
            made.append(NotSent(value, told["message"] if plain else value))
        else:
            made.append(value)
    return tuple(made)


def _is_sound(error: BaseException) -> bool:
    # C code trusts these fields, and would read beyond the end of a text that they do not fit.
    for kind, wanted in _OF_TEXT.items():
        if kind in mro(type(error)):
            held = [space(kind)[name].__get__(error) for name in ("object", "start", "end")]
            size = len(held[0]) if type(held[0]) is wanted else -1
            return bool(0 <= held[1] <= size and 0 <= held[2] <= size)
    return True


def set_attribute(error: BaseException, name: str, value: object) -> None:
    """Fill a slot where the class has one of that name, else the object's own dict."""
    slot = slot_of(type(error), name)
    if slot is None:
        own(error)[name] = value
    else:
        slot.__set__(error, value)


def slot_of(owner: type, name: str) -> Slot | None:
    """Return the slot of that name that objects of the class have, if it is one."""
    for part in mro(owner):
        if name in space(part):
            return as_slot(space(part)[name], part)
    return None


def own(error: BaseException) -> dict[str, object]:
    """Return the object's own dict, whatever its class says of that."""
    return cast("dict[str, object]", BASE["__dict__"].__get__(error))
