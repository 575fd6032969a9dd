"""The form of any annotation: what it asks of a value, built once and kept.

Pure but for what it keeps; imported when the first function with an annotation that restores
something is looked at, in a worker's main thread or in the thread of a program that names one.
"""

from __future__ import annotations

import threading
import typing
from typing import Any

from slither._typed import containers, foreign, leaves, records, union
from slither._typed.form import Form, Later, anything
from slither._typed.generic import bare, substituted
from slither._typed.hints import NOTHING, Unread, kind_of, resolved
from slither._words import said

_MOST = 2_048

_made: dict[object, Form] = {}
# Forms of types that are being built, for parts that are of the type itself.
_begun: dict[object, Later] = {}
_lock = threading.RLock()


def form_of(annotation: object) -> Form:
    """Return the form of an annotation; one that is not known takes anything, as it is.

    >>> form_of(list[int]).restores, form_of(set[int]).restores
    (False, True)
    >>> form_of(set[int]).convert([1, 2, 2])
    {1, 2}
    """
    with _lock:
        return _form(annotation)


def _form(annotation: object) -> Form:
    annotation = bare(annotation)
    key = _key(annotation)
    if key is None:
        return _built(annotation)
    found = _made.get(key) or _begun.get(key)
    if found is not None:
        return found
    is_class = isinstance(typing.get_origin(annotation) or annotation, type)
    later = _begun[key] = Later(_shown(annotation), restores=is_class and _is_record(annotation))
    try:
        form = _built(annotation)
    finally:
        del _begun[key]
    later.settle(form)
    if len(_made) >= _MOST:
        _made.clear()
    # What has a part that is still being built is complete once that is; it is the same object.
    _made[key] = form
    return form


def _built(annotation: object) -> Form:
    unread: dict[str, None] = {}
    strange: dict[type, None] = {}

    def part(inner: object) -> Form:
        # Some ask while they convert, long after this was built.
        form = form_of(inner)
        unread.update(dict.fromkeys(form.unread))
        strange.update(dict.fromkeys(form.strange))
        return form

    try:
        form = _of(annotation, part)
    except Exception as error:  # noqa: BLE001 - anything may stand in an annotation
        text = _shown(annotation)
        form = anything(text, f"{text} can't be made of data ({said(error)})")
    form.unread = tuple(dict.fromkeys((*form.unread, *unread)))
    form.strange = tuple(dict.fromkeys((*form.strange, *strange)))
    return form


def _of(annotation: Any, part: Any) -> Form:
    if annotation is None:
        annotation = type(None)
    if isinstance(annotation, Unread):
        why = f"{annotation.text} can't be read when it runs ({annotation.why})"
        return anything(annotation.text, f"{why}: data stay as they come")
    if annotation is NOTHING or annotation is Any or annotation is object:
        return anything()
    if type(annotation).__name__ == "TypeAliasType":
        return part(annotation.__value__)  # type: ignore[no-any-return]
    if hasattr(annotation, "__supertype__"):
        return part(annotation.__supertype__)  # type: ignore[no-any-return]
    if isinstance(annotation, typing.TypeVar):
        return _of_variable(annotation, part)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    name = kind_of(origin or annotation)
    if name == "Union":
        return union.form_of(tuple(part(one) for one in inner))
    if name == "Literal":
        return leaves.literal(inner)
    if name == "LiteralString":
        return part(str)  # type: ignore[no-any-return]
    if type(origin).__name__ == "TypeAliasType":
        known = dict(zip(origin.__type_params__, inner, strict=False))
        return part(substituted(origin.__value__, known))  # type: ignore[no-any-return]
    kind = origin or annotation
    if not isinstance(kind, type):
        return anything(_shown(annotation))
    found = (
        containers.form_of(kind, inner, part)
        or leaves.form_of(kind)
        or foreign.form_of(kind, annotation, part)
        or records.form_of(kind, inner, part)
    )
    return found or anything(_shown(annotation), strange=(kind,))


def _of_variable(variable: Any, part: Any) -> Form:
    if variable.__constraints__:
        return union.form_of(tuple(part(one) for one in variable.__constraints__))
    bound = variable.__bound__
    if isinstance(bound, typing.ForwardRef):
        bound = resolved(bound, variable)
    return part(Any if bound is None else bound)  # type: ignore[no-any-return]


def _is_record(annotation: object) -> bool:
    kind = typing.get_origin(annotation) or annotation
    return any(
        hasattr(kind, name)
        for name in (
            *("__dataclass_fields__", "__attrs_attrs__", "__struct_fields__"),
            *("__required_keys__", "_fields", "__pydantic_validator__"),
        )
    )


def _key(annotation: object) -> object:
    """Return what an annotation is kept by: equal ones may differ, as Literal[1] and [True]."""
    try:
        hash(annotation)
    except TypeError:
        return None
    return _exact(annotation)


def _exact(annotation: object) -> object:
    parts = typing.get_args(annotation)
    if not parts:
        return (type(annotation), annotation)
    return (
        typing.get_origin(annotation),
        *(repr(part) if isinstance(part, list | tuple) else _exact(part) for part in parts),
    )


def _shown(annotation: object) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")
