"""Classes and what their objects hold, read without running any code of theirs.

Pure functions: a worker uses them to send an exception, a program to make it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, TypeAlias, cast

Slot: TypeAlias = MemberDescriptorType | GetSetDescriptorType
"""What objects hold beside their ``__dict__``: of ``__slots__``, or of a class of C."""

_TYPE = vars(type)
# What an attribute was looked for in may be anything, and large: pickle leaves it out, too.
_NEVER = frozenset({"obj"})
_MADE_AT_RUN_TIME = 1 << 9


def mro(owner: type) -> tuple[type, ...]:
    """Return the class and all that it is of, in the order of look-ups."""
    return cast("tuple[type, ...]", _TYPE["__mro__"].__get__(owner))


def space(owner: type) -> Mapping[str, Any]:
    """Return the attributes of a class itself."""
    return cast("Mapping[str, Any]", _TYPE["__dict__"].__get__(owner))


def name_of(owner: type) -> str:
    """Return the qualified name of a class."""
    return cast("str", _TYPE["__qualname__"].__get__(owner))


def slots(owner: type) -> Iterator[tuple[str, Slot]]:
    """Walk over the slots of an exception's class, but for those that all exceptions have."""
    seen = set(_NEVER)
    for part in mro(owner):
        if part is BaseException:
            return
        for name, found in space(part).items():
            if name not in seen and not name.startswith("__"):
                seen.add(name)
                if (slot := as_slot(found, part)) is not None:
                    yield name, slot


def as_slot(found: object, owner: type) -> Slot | None:
    """Return what ``owner`` has under a name if it is a slot, and no code of a user's."""
    if isinstance(found, MemberDescriptorType):
        return found
    # Of C are classes that are built into the interpreter, and static ones of a module.
    is_of_c = not owner.__flags__ & _MADE_AT_RUN_TIME
    return found if isinstance(found, GetSetDescriptorType) and is_of_c else None
