"""What is made of a value only once it is wanted, one value at a time.

Whoever reads frames must run no code of the user's; what that code raises must fail its own item;
and a call is read before the module of its handler is imported, which may register the types of
what is in it. So to decode makes none of what such code makes: it leaves a :class:`Late` where a
value goes by it, and a :class:`slither.Tagged` where its type has a name. Whoever reads asks
:func:`met`, in the thread that has read; whoever uses values has them :func:`made`, in any.
"""

from __future__ import annotations

import threading
from typing import Any

from slither._errors import DecodeError
from slither._wire.types.groups import folded, hashable
from slither._words import said


class Whole:
    """A value that has others in it, and is no list or dict."""

    __slots__ = ()

    def _parts(self) -> tuple[Any, ...]:
        """Return the values that it has."""
        return ()

    def _made(self, parts: list[Any]) -> Any:
        """Return what it is, or becomes, with others in their places."""
        raise NotImplementedError

    def _is_late(self) -> bool:
        """Tell whether it becomes something else."""
        return False


class Late(Whole):
    """Stands for a value that is not made yet: to make it may run code of the user's."""

    __slots__ = ()

    def _is_late(self) -> bool:
        return True


_used = False


def use() -> None:
    """Note that this process may meet what is not made yet."""
    global _used
    _used = True


def ever() -> bool:
    """Tell whether it may."""
    return _used


class _Met(threading.local):
    any = False


_met = _Met()


def meet() -> None:
    """Note that this thread has decoded something that is not made yet."""
    _met.any = True


def met() -> bool:
    """Tell whether this thread has done so since it last asked."""
    any_met, _met.any = _met.any, False
    return any_met


def has_late(value: Any) -> bool:
    """Tell whether something in a value is not made yet."""
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, Whole) and part._is_late():
            return True
        inner = _parts(part)
        if inner is not None:
            stack += inner
    return False


def made(value: Any) -> Any:
    """Return a value with all in it made; raises what code of the user's raises."""
    return folded(value, _parts, _whole, _same) if has_late(value) else value


def each(values: list[Any]) -> dict[int, Exception]:
    """Make values in their list, where this thread has decoded something that is not made yet.

    Returns why some could not be made, by their places, which have None then.
    """
    failed: dict[int, Exception] = {}
    if not met():
        return failed
    for index, value in enumerate(values):
        try:
            values[index] = made(value)
        except DecodeError as error:
            failed[index] = error
        # What unpickling runs may even exit.
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
            why = f"a value by value could not be opened: {said(error)}"
            failed[index] = DecodeError(why)
            failed[index].__cause__ = error
        if index in failed:
            values[index] = None
    return failed


def _parts(value: Any) -> Any:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if type(value) in (list, tuple, set, frozenset):
        return value
    return value._parts() if isinstance(value, Whole) else None


def _whole(value: Any, parts: list[Any]) -> Any:
    if isinstance(value, dict):
        keys = map(hashable, parts[: len(value)])
        return dict(zip(keys, parts[len(value) :], strict=True))
    if isinstance(value, Whole):
        return value._made(parts)
    kind = type(value)
    return kind(parts if kind in (list, tuple) else map(hashable, parts))


def _same(value: Any) -> Any:
    return value
