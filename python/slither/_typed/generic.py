"""What stands around a type, and what its type variables stand for.

Pure; called by :mod:`slither._typed.build` and the modules that it asks.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping

from slither._typed.hints import kind_of

SELF = "Self"
"""What the type Self is known by in what type variables stand for."""
# What only wraps a type, and says nothing of the value.
WRAPPERS = frozenset(
    {"Annotated", "Final", "ClassVar", "Required", "NotRequired", "ReadOnly", "Unpack"}
)


def bare(annotation: object) -> object:
    """Return the type that an annotation is of, without what only wraps it.

    >>> bare(typing.Annotated[int, "metres"]), bare(typing.Final[str])
    (<class 'int'>, <class 'str'>)
    """
    while True:
        kind = type(annotation)
        if kind.__name__ == "InitVar" and kind.__module__ == "dataclasses":
            annotation = annotation.type  # type: ignore[attr-defined]
            continue
        origin = typing.get_origin(annotation)
        if kind_of(origin) not in WRAPPERS:
            return annotation
        annotation = typing.get_args(annotation)[0]


def wrappers(annotation: object) -> set[str]:
    """Return the names of what wraps a type, such as NotRequired."""
    found = set()
    while (name := kind_of(typing.get_origin(annotation))) in WRAPPERS:
        found.add(name)
        annotation = typing.get_args(annotation)[0]
    return found


def substituted(annotation: object, known: Mapping[object, object]) -> object:
    """Return an annotation with the types that its type variables stand for.

    >>> T = typing.TypeVar("T")
    >>> substituted(dict[str, list[T]], {T: int})
    dict[str, list[int]]
    """
    if not known:
        return annotation
    if kind_of(annotation) == "Self":
        return known.get(SELF, annotation)
    try:
        if annotation in known:
            return known[annotation]
    except TypeError:
        return annotation
    parts = typing.get_args(annotation)
    if not parts or kind_of(typing.get_origin(annotation)) == "Literal":
        return annotation
    made = tuple(substituted(part, known) for part in parts)
    if made == parts:
        return annotation
    origin = typing.get_origin(annotation)
    if kind_of(origin) == "Union":
        return typing.Union[made]  # noqa: UP007 - a member may be no type
    if kind_of(origin) == "Annotated":
        return made[0]
    try:
        return origin[made if len(made) > 1 else made[0]]  # type: ignore[index]
    except TypeError:
        return annotation


def variables(owner: type, arguments: tuple[object, ...]) -> dict[object, object]:
    """Return what the type variables of a class, and of those that it is of, stand for."""
    known: dict[object, object] = {}
    own = getattr(owner, "__type_params__", ()) or getattr(owner, "__parameters__", ())
    known.update(zip(own, arguments, strict=False))
    _of_bases(owner, known)
    return known


def _of_bases(owner: type, known: dict[object, object]) -> None:
    for base in getattr(owner, "__orig_bases__", ()):
        origin = typing.get_origin(base)
        if not isinstance(origin, type):
            continue
        given = [substituted(part, known) for part in typing.get_args(base)]
        own = getattr(origin, "__type_params__", ()) or getattr(origin, "__parameters__", ())
        for variable, part in zip(own, given, strict=False):
            if variable is not part:
                known.setdefault(variable, part)
        _of_bases(origin, known)
