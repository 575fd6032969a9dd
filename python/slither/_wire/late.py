"""Values of registered types that could not be made as they were read: what becomes of them.

A call is read before the module of its handler is imported, which may register the types of what
is in it. And what a type is registered with may fail, which fails the item that the value is in,
and not all that came with it. Whoever reads frames asks :func:`met`, in the thread that has read;
whoever uses values has them :func:`made`, in any thread.
"""

from __future__ import annotations

from typing import Any

from slither._types import Payload
from slither._wire.types import tagged
from slither._wire.types.groups import folded, hashable
from slither._wire.types.tagged import Tagged


def met() -> bool:
    """Tell whether this thread has read something unmade since it last asked."""
    any_met, tagged.unmade.here = tagged.unmade.here, False
    return any_met


def ever() -> bool:
    """Tell whether any thread of this process has read something unmade so far."""
    return tagged.unmade.ever


def made(value: Payload) -> Payload:
    """Return a value with all in it made; raises DecodeError, which names the type, where not."""
    return folded(value, _parts, _whole, lambda leaf: leaf) if _has_some(value) else value


def each(values: list[Payload]) -> dict[int, Exception]:
    """Make values in their list, where this thread has read something unmade.

    Returns why some could not be made, by their places, which have None then.
    """
    failed: dict[int, Exception] = {}
    if not met():
        return failed
    for index, value in enumerate(values):
        try:
            values[index] = made(value)
        # What types are registered with is the user's code.
        except Exception as error:  # noqa: BLE001 - it fails this value
            failed[index] = error
            values[index] = None
    return failed


def _has_some(value: Payload) -> bool:
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, Tagged):
            if tagged.is_known(part.name):
                return True
            stack.append(part.value)
        elif isinstance(part, dict):
            stack += part
            stack += part.values()
        elif isinstance(part, list | tuple | set | frozenset):
            stack += part
    return False


def _parts(value: Any) -> Any:
    if isinstance(value, dict):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, Tagged):
        return (value.value,)
    return value if type(value) in (list, tuple, set, frozenset) else None


def _whole(value: Any, parts: list[Any]) -> Any:
    if isinstance(value, dict):
        return dict(zip(map(hashable, parts[::2]), parts[1::2], strict=True))
    if isinstance(value, Tagged):
        return tagged.restored(value.name, parts[0])
    kind = type(value)
    return kind(parts if kind in (list, tuple) else map(hashable, parts))
