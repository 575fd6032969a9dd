"""Forms of records: dataclasses, TypedDicts, named tuples and classes of attrs.

Pure but for the classes' own code, which checks what it is given; :mod:`slither._typed.build`
asks, and a worker's main thread, or a program's, converts.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from slither._typed.form import LOST, NEVER, OWN, POOR, Build, Convert, Form
from slither._typed.generic import SELF, substituted, variables, wrappers
from slither._typed.hints import of_class
from slither._typed.mismatch import Mismatch, refused, step_of
from slither._words import said

_MISSING = object()


class Field(NamedTuple):
    """A field of a record: its name in the data, the argument's name, and its form."""

    name: str
    argument: str
    form: Form
    required: bool
    late: bool = False
    """Whether it is set once the object is there, as ``__init__`` does not take it."""
    own: bool = False
    """Whether the class makes of what is given what it is to have, and takes what comes as well.
    """


def form_of(kind: type, arguments: tuple[object, ...], build: Build) -> Form | None:
    """Return the form of a record; None for a type that is none."""
    if typing.is_typeddict(kind) or _is_typed_dict(kind):
        return _typed_dict(kind, arguments, build)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _named_tuple(kind, arguments, build)
    if dataclasses.is_dataclass(kind):
        return _doubted(kind, _record(kind, _of_dataclass(kind, arguments, build)))
    if "__attrs_attrs__" in vars(kind) or hasattr(kind, "__attrs_attrs__"):
        return _doubted(kind, _record(kind, _of_attrs(kind, arguments, build)))
    return None


def _doubted(kind: Any, form: Form) -> Form:
    """Note why a class can't be made of what is sent of it."""
    name = kind.__name__
    lost = [
        one.name
        for one in vars(kind).get("__dataclass_fields__", {}).values()
        if getattr(one._field_type, "name", "") == "_FIELD_INITVAR"
        and one.default is dataclasses.MISSING
    ]
    own = getattr(getattr(kind, "__dataclass_params__", None), "init", True)
    if lost:
        form.unread = (
            f"{name}.{lost[0]} is an InitVar without a default, and is not sent with the fields "
            f"of {name}: data of it can't become one",
        )
    elif not own and "__init__" in vars(kind):
        names = inspect.signature(kind).parameters.values()
        taken = {one.name for one in names}
        takes_any = any(one.kind is one.VAR_KEYWORD for one in names)
        if not takes_any and taken != set(form.keys or ()):
            form.unread = (
                f"{name} has an __init__ of its own that does not take its fields by name",
            )
    return form


def _is_typed_dict(kind: object) -> bool:
    # That of typing_extensions, where it is not the one of typing.
    return isinstance(kind, type) and type(kind).__name__ == "_TypedDictMeta"


def _hints(kind: type, arguments: tuple[object, ...]) -> dict[str, object]:
    known = variables(kind, arguments)
    known[SELF] = kind[arguments] if arguments else kind  # type: ignore[index]
    return {name: substituted(hint, known) for name, hint in of_class(kind).items()}


def _of_dataclass(kind: type, arguments: tuple[object, ...], build: Build) -> list[Field]:
    hints = _hints(kind, arguments)
    found = []
    # With the pseudo-fields that only __init__ takes.
    for name, field in kind.__dataclass_fields__.items():  # type: ignore[attr-defined]
        what = getattr(field._field_type, "name", "")
        if what == "_FIELD_CLASSVAR":
            continue
        has_default = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        form = build(hints.get(name, field.type))
        late = not field.init
        found.append(Field(name, name, form, not (has_default or late), late))
    return found


def _of_attrs(kind: type, arguments: tuple[object, ...], build: Build) -> list[Field]:
    hints = _hints(kind, arguments)
    nothing = sys.modules["attr"].NOTHING
    found = []
    for field in kind.__attrs_attrs__:  # type: ignore[attr-defined]
        hint = hints.get(field.name, field.type)
        form = build(Any if hint is None else hint)
        alias = getattr(field, "alias", None) or field.name.lstrip("_")
        late = not field.init
        required = field.default is nothing and not late
        found.append(Field(field.name, alias, form, required, late, field.converter is not None))
    return found


def _record(kind: type, fields: Sequence[Field]) -> Form:
    """Return the form of a class that is made of its fields by name."""
    name = kind.__name__
    early = [_step(one) for one in fields if not one.late]
    late = [(one.name, _of_field(one)) for one in fields if one.late]
    names = [one.name for one in fields]

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            if isinstance(value, kind):
                return value
            return refused(name, value)
        given: dict[str, Any] = {}
        key = ""
        try:
            for key, argument, exact, make, required in early:
                item = value.get(key, _MISSING)
                if item is _MISSING:
                    item = value.get(argument, _MISSING)
                if type(item) in exact:
                    given[argument] = item
                elif item is not _MISSING:
                    given[argument] = make(item)
                elif required:
                    raise missing(name, value, names, key)
        except Mismatch as mismatch:
            mismatch.at(f".{key}")
            raise
        try:
            made = kind(**given)
        except Exception as error:
            raise Mismatch(f"{name} refused its fields: {said(error)}") from error
        for key, make in late:
            _set(made, key, make, value)
        return made

    def fit(value: Any) -> float:
        if isinstance(value, kind):
            return OWN
        if type(value) is not dict:
            return NEVER
        return _fit(value, (one for one in fields if one.required), names)

    return _with_fields(Form(name, convert, fit, restores=True), fields)


def _with_fields(form: Form, fields: Sequence[Field]) -> Form:
    form.keys = frozenset(one.name for one in fields)
    form.has_literal = any(one.form.has_literal for one in fields)
    return form


def _step(field: Field) -> tuple[str, str, tuple[type, ...], Convert, bool]:
    return field.name, field.argument, field.form.exact, _of_field(field), field.required


def _of_field(field: Field) -> Convert:
    """Return what converts a field's value."""
    if not field.own:
        return field.form.convert

    def convert(value: Any) -> Any:
        try:
            return field.form.convert(value)
        except Mismatch:
            return value

    return convert


def _set(made: Any, name: str, convert: Convert, value: dict[Any, Any]) -> None:
    if name in value:
        try:
            object.__setattr__(made, name, convert(value[name]))
        except Mismatch as mismatch:
            mismatch.at(f".{name}")
            raise
        except AttributeError:
            # A property, or a slot that there is not: the object has made it by itself.
            return


def _typed_dict(kind: Any, arguments: tuple[object, ...], build: Build) -> Form:
    name = kind.__name__
    hints = _hints(kind, arguments)
    required = set(kind.__required_keys__)
    for key, hint in hints.items():
        # On Python 3.10 and with postponed annotations the class itself takes them for required.
        marks = wrappers(hint)
        if "NotRequired" in marks:
            required.discard(key)
        elif "Required" in marks:
            required.add(key)
    fields = [Field(key, key, build(hint), key in required) for key, hint in hints.items()]
    steps = [
        (one.name, one.form.exact, one.form.convert, one.form.changes, one.required)
        for one in fields
    ]
    changes = any(one.form.changes for one in fields)

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return refused(name, value)
        made = dict(value) if changes else value
        key = ""
        try:
            for key, exact, make, is_new, needed in steps:
                item = value.get(key, _MISSING)
                if type(item) in exact:
                    continue
                if item is not _MISSING:
                    if is_new:
                        made[key] = make(item)
                    else:
                        make(item)
                elif needed:
                    raise missing(name, value, list(hints), key)
        except Mismatch as mismatch:
            mismatch.at(step_of(key))
            raise
        return made

    def fit(value: Any) -> float:
        if not isinstance(value, dict):
            return NEVER
        return _fit(value, (one for one in fields if one.required), list(hints))

    return _with_fields(Form(name, convert, fit, restores=True, changes=changes), fields)


def _named_tuple(kind: Any, arguments: tuple[object, ...], build: Build) -> Form:
    name = kind.__name__
    hints = _hints(kind, arguments)
    fields = [
        Field(one, one, build(hints.get(one, Any)), one not in kind._field_defaults)
        for one in kind._fields
    ]
    names = [one.name for one in fields]
    least = sum(one.required for one in fields)

    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        if isinstance(value, dict):
            # As a row of JSON has it.
            pairs = [(one, value[one.name]) for one in fields if one.name in value]
            lost = [one.name for one in fields if one.required and one.name not in value]
            if lost:
                raise missing(name, value, names, lost[0]).at(f".{lost[0]}")
        elif isinstance(value, list | tuple) and least <= len(value) <= len(fields):
            pairs = list(zip(fields, value, strict=False))
        elif isinstance(value, list | tuple):
            raise Mismatch(f"{name} has {len(fields)} fields, not {len(value)}")
        else:
            return refused(name, value)
        given: dict[str, Any] = {}
        for field, item in pairs:
            try:
                given[field.name] = field.form.convert(item)
            except Mismatch as mismatch:
                mismatch.at(f".{field.name}")
                raise
        try:
            return kind(**given)
        except Exception as error:
            raise Mismatch(f"{name} refused its fields: {said(error)}") from error

    def fit(value: Any) -> float:
        if isinstance(value, kind):
            return OWN
        if isinstance(value, dict):
            return _fit(value, (one for one in fields if one.required), names)
        if not isinstance(value, list | tuple):
            return NEVER
        return LOST if least <= len(value) <= len(fields) else POOR

    return Form(name, convert, fit, restores=True)


def _fit(value: dict[Any, Any], required: Iterable[Field], names: list[str]) -> float:
    """Tell how well a dict fits a record: the better, the fewer fields it has beside its own."""
    if any(one.name not in value and one.argument not in value for one in required):
        return POOR
    known = sum(name in value for name in names)
    beside, lacking = len(value) - known, len(names) - known
    return LOST + min(beside, 99) / 100 + min(lacking, 99) / 10_000


def missing(name: str, value: dict[Any, Any], names: list[str], key: str) -> Mismatch:
    """Say that a field is missing, and which other may be meant for it."""
    others = [one for one in value if type(one) is str and one not in names]
    near = [one for one in others if one.casefold() == key.casefold()]
    if others and not near:
        from difflib import get_close_matches

        near = get_close_matches(key, others, 1)
    hint = f'; is "{near[0]}" meant for it?' if near else ""
    return Mismatch(f"it is missing, and {name} needs it{hint}")
