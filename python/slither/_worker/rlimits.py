"""Limits that the system holds a worker to, as its pool asks: the main thread sets them first.

What has been imported before, in a process that this one is a fork of, was not bound by them.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence

Limit = int | None


class Refused(Exception):
    """A limit that can't be set; the text says which, and why."""


def settle(limits: Mapping[str, Sequence[Limit]]) -> None:
    """Set them: by name the limit that holds, and the one up to which it may be raised, if given.

    None is no limit. Raises :class:`Refused` for one that the system does not know, or refuses.
    """
    for name, limit in limits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            known = (each[7:].lower() for each in dir(resource) if each.startswith("RLIMIT_"))
            raise Refused(f"this system has no limit of {name}; it has {', '.join(known)}")
        _set(name, number, limit)


def _set(name: str, number: int, limit: Sequence[Limit]) -> None:
    soft, hard = _bytes(limit[0]), resource.getrlimit(number)[1]
    if len(limit) > 1:
        hard = _bytes(limit[1])
    elif hard != resource.RLIM_INFINITY and (soft > hard or soft == resource.RLIM_INFINITY):
        raise Refused(f"{name}={_shown(soft)} is beyond the hard limit, which is {hard}")
    try:
        resource.setrlimit(number, (soft, hard))
    except (OSError, ValueError) as error:
        shown = f"{name}=({_shown(soft)}, {_shown(hard)})"
        raise Refused(f"{shown} is not allowed: {error}") from None


def _bytes(limit: Limit) -> int:
    return resource.RLIM_INFINITY if limit is None else limit


def _shown(limit: int) -> str:
    return "no limit" if limit == resource.RLIM_INFINITY else str(limit)
