"""Forms of single values: numbers, texts, times, paths, members of an Enum, literals.

Pure; :mod:`slither._typed.build` asks, and a worker's main thread, or a program's, converts.
"""

from __future__ import annotations

import datetime
import enum
import os
import sys
from collections.abc import Callable
from typing import Any

from slither._typed.form import EXACT, LOOSE, LOST, NEVER, OWN, TEXT, Form, leaf
from slither._typed.mismatch import Mismatch, expected, listed, refused
from slither._words import article

# What stands for a type by the rules of typing: a bool is an int, an int a float.
_NUMBERS: dict[type, tuple[type, ...]] = {
    bool: (),
    int: (bool,),
    float: (int, bool),
    complex: (float, int, bool),
}
_PLAIN: dict[type, Form] = {
    **{kind: leaf(kind.__name__, (kind,), loose) for kind, loose in _NUMBERS.items()},
    str: leaf("str", (str,)),
    bytes: leaf("bytes", (bytes,)),
    type(None): leaf("None", (type(None),)),
    datetime.timedelta: leaf("timedelta", (datetime.timedelta,), restores=True),
}
# Types whose values cross, and have one text form of their own beside: what a file of JSON holds.
_TEXTS: dict[type, Callable[[str], Any]] = {
    datetime.date: datetime.date.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    datetime.datetime: lambda text: datetime.datetime.fromisoformat(_offset(text)),
}
# Types that are made of their text, by module: who has no such annotation imports none of these.
_BY_TEXT = {
    "uuid": ("UUID",),
    "ipaddress": (
        *("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network"),
        *("IPv4Interface", "IPv6Interface"),
    ),
    "zoneinfo": ("ZoneInfo",),
    "fractions": ("Fraction",),
}
_BASES: tuple[type, ...] = (str, bytes, int, float)


def form_of(kind: type) -> Form | None:
    """Return the form of a type; None for one that is none of these."""
    found = _PLAIN.get(kind)
    if found is not None:
        return found
    if kind in _TEXTS:
        return _text(kind.__name__, (kind,), _TEXTS[kind])
    if (kind.__module__, kind.__name__) == ("decimal", "Decimal"):
        return _decimal(kind)
    if kind in (bytearray, memoryview):
        return _of_bytes(kind)
    if issubclass(kind, enum.Enum):
        return _enum(kind)
    if kind is os.PathLike:
        return _text("Path", (os.PathLike,), _path)
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and issubclass(kind, pathlib.PurePath):
        # What crosses is a path of this machine, or a pure one: either is made to what is asked.
        return _text(kind.__name__, (kind,), kind, others=(pathlib.PurePath,))
    name = kind.__name__
    if name in _BY_TEXT.get(kind.__module__, ()):
        return _text(name, (kind,), kind)
    base = next((base for base in _BASES if issubclass(kind, base)), None)
    if base is not None and _is_as_made(kind, base):
        return _subclass(kind, base)
    return None


def literal(values: tuple[object, ...]) -> Form:
    """Return the form of one of some values; members of an Enum are restored."""
    members = [value for value in values if isinstance(value, enum.Enum)]
    plain = [value for value in values if not isinstance(value, enum.Enum)]
    name = f"one of {listed(list(values))}"

    def find(value: Any) -> Any:
        for member in members:
            if value is member or _is_same(value, member.value):
                return member
        for one in plain:
            if _is_same(value, one):
                return one
        return refused(name, value)

    def fit(value: Any) -> float:
        try:
            find(value)
        except Mismatch:
            return NEVER
        return LOST if members else EXACT

    form = Form(name, find, fit, restores=bool(members))
    form.has_literal = True
    return form


def _is_same(value: object, other: object) -> bool:
    return type(value) is type(other) and value == other


def _text(
    name: str,
    own: tuple[type, ...],
    make: Callable[..., Any],
    *,
    others: tuple[type, ...] = (),
) -> Form:
    takes = (str, *others)

    def convert(value: Any) -> Any:
        if isinstance(value, own):
            return value
        if isinstance(value, takes):
            try:
                return make(value)
            except Exception as error:
                raise expected(article(name), value) from error
        return refused(name, value)

    def fit(value: Any) -> float:
        if isinstance(value, own):
            return OWN if type(value) in own else EXACT
        if isinstance(value, others):
            return LOOSE
        return TEXT if isinstance(value, str) else NEVER

    form = Form(name, convert, fit, restores=True)
    form.exact = own
    return form


def _offset(text: str) -> str:
    # Python 3.10 does not take the Z that stands for UTC.
    return f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text


def _path(text: str) -> object:
    from pathlib import Path

    return Path(text)


def _decimal(kind: Any) -> Form:
    def make(value: Any) -> Any:
        return kind(str(value) if isinstance(value, float) else value)

    return _text("Decimal", (kind,), make, others=(int, float))


def _of_bytes(kind: type) -> Form:
    name = kind.__name__

    def convert(value: Any) -> Any:
        if isinstance(value, bytes):
            return kind(value)
        if isinstance(value, kind):
            return value
        return refused(name, value)

    def fit(value: Any) -> float:
        return OWN if isinstance(value, kind) else LOOSE if isinstance(value, bytes) else NEVER

    return Form(name, convert, fit, restores=True)


def _enum(kind: type[enum.Enum]) -> Form:
    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        try:
            return kind(value)
        except ValueError:
            pass
        except Exception as error:
            raise expected(kind.__name__, value) from error
        if type(value) is list and (found := _by_list(kind, value)) is not None:
            return found
        known = listed([member.value for member in kind])
        return refused(article(kind.__name__), value, f"; there are {known}")

    def fit(value: Any) -> float:
        if isinstance(value, kind):
            return OWN
        try:
            convert(value)
        except Mismatch:
            return NEVER
        return LOST

    return Form(kind.__name__, convert, fit, restores=True)


def _by_list(kind: type[enum.Enum], value: list[Any]) -> enum.Enum | None:
    # From BEAM, and from JSON, a tuple comes as a list.
    for member in kind:
        if isinstance(member.value, tuple) and list(member.value) == value:
            return member
    return None


def _is_as_made(kind: type, base: type) -> bool:
    """Tell whether a class makes an object of its base's as the base itself does."""
    return all(getattr(kind, one) is getattr(base, one) for one in ("__new__", "__init__"))


def _subclass(kind: type, base: type) -> Form:
    name = kind.__name__

    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        if isinstance(value, base):
            return kind(value)
        return refused(name, value)

    def fit(value: Any) -> float:
        return OWN if isinstance(value, kind) else LOST if type(value) is base else NEVER

    return Form(name, convert, fit, restores=True)
