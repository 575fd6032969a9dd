"""Forms of containers: lists and what else is one on the wire, tuples, sets, dicts.

Pure; :mod:`slither._typed.build` asks, and a worker's main thread, or a program's, converts.
"""

from __future__ import annotations

import collections
import typing
from collections import abc
from collections.abc import Callable
from typing import Any, NamedTuple

from slither._typed.form import EXACT, LOOSE, NEVER, POOR, Build, Form
from slither._typed.hints import kind_of
from slither._typed.mismatch import Mismatch, expected, refused, step_of
from slither._words import said

_LISTED = (list, tuple)
_ITERATED = (list, tuple, set, frozenset)


class _Kind(NamedTuple):
    """A type of elements in a row, or of a set of them."""

    name: str
    takes: tuple[type, ...]
    keeps: tuple[type, ...]
    """Those that are of the type as they come."""
    make: Callable[[Any], Any]
    """Makes one of any other."""
    restores: bool = True


_KINDS: dict[object, _Kind] = {
    list: _Kind("list", _LISTED, (list,), list, False),
    abc.MutableSequence: _Kind("list", _LISTED, (list,), list, False),
    abc.Sequence: _Kind("Sequence", _LISTED, _LISTED, list, False),
    abc.Reversible: _Kind("Reversible", _LISTED, _LISTED, list, False),
    abc.Collection: _Kind("Collection", _ITERATED, _ITERATED, list, False),
    abc.Iterable: _Kind("Iterable", _ITERATED, _ITERATED, list, False),
    abc.Container: _Kind("Container", _ITERATED, _ITERATED, list, False),
    abc.Iterator: _Kind("Iterator", _LISTED, _LISTED, list, False),
    abc.Generator: _Kind("Generator", _LISTED, _LISTED, list, False),
    collections.deque: _Kind(
        "deque", (*_LISTED, collections.deque), (collections.deque,), collections.deque
    ),
    set: _Kind("set", _ITERATED, (set,), set),
    abc.MutableSet: _Kind("set", _ITERATED, (set,), set),
    abc.Set: _Kind("set", _ITERATED, (set, frozenset), set),
    frozenset: _Kind("frozenset", _ITERATED, (frozenset,), frozenset),
}
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
# What a defaultdict is made with, by the type of its values.
_FACTORIES = (list, dict, set, int, float, str, tuple)


def form_of(kind: object, inner: tuple[object, ...], build: Build) -> Form | None:
    """Return the form of a container's type; None for one that is none of these."""
    if (found := _KINDS.get(kind)) is not None:
        return _row(found, build(inner[0] if inner else Any))
    if kind is tuple:
        return _tuple(inner, build)
    if kind in _DICTS:
        return _mapping("dict", dict, inner, build, None)
    if kind is collections.OrderedDict:
        return _mapping("OrderedDict", kind, inner, build, collections.OrderedDict)
    if kind is collections.Counter:
        pair = (inner[0], int) if inner else ()
        return _mapping("Counter", kind, pair, build, collections.Counter)
    if kind is collections.defaultdict:
        return _mapping("defaultdict", kind, inner, build, _default_of(inner))
    return None


def _default_of(inner: tuple[object, ...]) -> Callable[[Any], Any]:
    values = inner[1] if len(inner) == 2 else None
    origin = typing.get_origin(values) or values
    factory: Any = origin if origin in _FACTORIES else None
    return lambda items: collections.defaultdict(factory, items)


def _row(kind: _Kind, part: Form) -> Form:
    more = ", ..." if kind.make is tuple else ""
    name = kind.name if part.is_any else f"{kind.name}[{part.name}{more}]"
    takes, keeps, make = kind.takes, kind.keeps, kind.make
    exact = frozenset(part.exact)

    def convert(value: Any) -> Any:
        own: type | None = type(value)
        if own not in takes:
            # A class derived from one of them, of an object that did not cross as data.
            own = next((one for one in takes if isinstance(value, one)), None)
            if own is None:
                return refused(name, value)
        # Mostly all are what they are to be, and to see that takes no code of Python's.
        is_so = part.is_any or (exact and exact.issuperset(map(type, value)))
        if not part.changes and own in keeps:
            if not is_so:
                _check(part, value)
            return value
        made = value if is_so else _each(part, value)
        if own in keeps:
            return made if type(made) is own else _made(name, own, made)
        return _made(name, make, made)

    def fit(value: Any) -> float:
        if not isinstance(value, takes):
            return NEVER
        return EXACT if type(value) in keeps else LOOSE

    return Form(name, convert, fit, restores=kind.restores or part.restores, changes=True)


def _each(part: Form, value: Any) -> list[Any]:
    convert = part.convert
    made: list[Any] = []
    try:
        for item in value:
            made.append(convert(item))
    except Mismatch as mismatch:
        mismatch.at(f"[{len(made)}]")
        raise
    return made


def _check(part: Form, value: Any) -> None:
    convert, index = part.convert, 0
    try:
        for index, item in enumerate(value):  # noqa: B007 - says where it was
            convert(item)
    except Mismatch as mismatch:
        mismatch.at(f"[{index}]")
        raise


def _tuple(inner: tuple[object, ...], build: Build) -> Form:
    if not inner or (len(inner) == 2 and inner[1] is ...):
        part = build(inner[0] if inner else Any)
        return _row(_Kind("tuple", _LISTED, (tuple,), tuple), part)
    if any(_is_spread(one) for one in inner):
        return _row(_Kind("tuple", _LISTED, (tuple,), tuple), build(Any))
    parts = [] if inner == ((),) else [build(one) for one in inner]
    name = f"tuple[{', '.join(part.name for part in parts) or '()'}]"
    converts = [part.convert for part in parts]

    def convert(value: Any) -> Any:
        if not isinstance(value, _LISTED):
            return refused(name, value)
        if len(value) != len(converts):
            raise expected(name, value)
        made: list[Any] = []
        try:
            for one, item in zip(converts, value, strict=True):
                made.append(one(item))
        except Mismatch as mismatch:
            mismatch.at(f"[{len(made)}]")
            raise
        return tuple(made)

    def fit(value: Any) -> float:
        if not isinstance(value, _LISTED):
            return NEVER
        if len(value) != len(parts):
            return POOR
        return EXACT if isinstance(value, tuple) else LOOSE

    return Form(name, convert, fit, restores=True)


def _is_spread(part: object) -> bool:
    """Tell whether a part of a tuple stands for several: ``*tuple[int, ...]``, or ``*Ts``."""
    return getattr(part, "__unpacked__", False) is True or (
        kind_of(typing.get_origin(part)) == "Unpack"
    )


def _mapping(
    name: str,
    own: Any,
    inner: tuple[object, ...],
    build: Build,
    make: Callable[[Any], Any] | None,
) -> Form:
    keys, values = (build(one) for one in (inner if len(inner) == 2 else (Any, Any)))
    changes = keys.changes or values.changes
    any_entry = keys.is_any and values.is_any
    shown = name if any_entry else f"{name}[{keys.name}, {values.name}]"
    exact_keys, exact_values = frozenset(keys.exact), frozenset(values.exact)

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return refused(shown, value)
        made = value
        if not (
            any_entry
            or (
                (keys.is_any or exact_keys.issuperset(map(type, value)))
                and (values.is_any or exact_values.issuperset(map(type, value.values())))
            )
        ):
            made = _entries(keys, values, value)
        if make is not None:
            return value if isinstance(value, own) and not changes else _made(name, make, made)
        return made if changes else value

    def fit(value: Any) -> float:
        if not isinstance(value, dict):
            return NEVER
        return EXACT if type(value) is own else LOOSE

    restores = make is not None or keys.restores or values.restores
    return Form(shown, convert, fit, restores=restores, changes=make is not None or changes)


def _entries(keys: Form, values: Form, value: dict[Any, Any]) -> dict[Any, Any]:
    convert_key, convert = keys.convert, values.convert
    made: dict[Any, Any] = {}
    key: Any = None
    try:
        for key, item in value.items():
            made[convert_key(key)] = convert(item)
    except Mismatch as mismatch:
        mismatch.at(step_of(key))
        raise
    except TypeError as error:
        fault = Mismatch(f"the key can't be one of a dict: {said(error)}").at(step_of(key))
        raise fault from error
    return made


def _made(name: str, make: Callable[[Any], Any], parts: Any) -> Any:
    try:
        return make(parts)
    except TypeError as error:
        # Such as a set of what can't be hashed.
        raise Mismatch(f"a {name} can't be made of these: {said(error)}") from error
