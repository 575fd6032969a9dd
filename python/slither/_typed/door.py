"""The way into a conversion: what is wrong with a value becomes an error that users see.

Pure; :mod:`slither._typed.functions` makes the doors, and a worker's main thread, or a program's,
goes through them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slither._errors import PayloadError
from slither._typed.mismatch import Mismatch

if TYPE_CHECKING:
    from slither._typed.form import Convert

_DEEP = "it nests deeper than Python may recurse (sys.setrecursionlimit)"


def door(convert: Convert, root: str) -> Convert:
    """Return what converts a value; ``root`` is what that is called where it does not fit."""

    def enter(value: Any) -> Any:
        try:
            return convert(value)
        except (Mismatch, RecursionError) as error:
            failure = _told(error, root)
        # Raised here, it does not have the other for its context, which says the same.
        raise failure

    return enter


def _told(error: Mismatch | RecursionError, root: str) -> PayloadError:
    return error.told(root) if isinstance(error, Mismatch) else PayloadError(root, _DEEP)


class Arguments:
    """What makes the arguments of one function what its parameters say."""

    def __init__(
        self,
        positional: Sequence[Convert | None],
        named: Mapping[str, Convert],
        more: Convert | None,
        rest: Convert | None,
    ) -> None:
        """Take what converts each; ``more`` and ``rest`` are for ``*args`` and ``**kwargs``."""
        self._positional, self._named = positional, named
        self._more, self._rest = more, rest

    def listed(self, given: Sequence[Any]) -> Sequence[Any]:
        """Return the positional arguments, converted."""
        made: list[Any] = []
        try:
            for index, value in enumerate(given):
                of_own = index < len(self._positional)
                convert = self._positional[index] if of_own else self._more
                made.append(value if convert is None else convert(value))
            return made
        except (Mismatch, RecursionError) as error:
            failure = _told(error, f"args[{len(made)}]")
        raise failure

    def named(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the named arguments, converted."""
        made: dict[str, Any] = {}
        name = ""
        try:
            for name, value in given.items():
                convert = self._named.get(name, self._rest)
                made[name] = value if convert is None else convert(value)
            return made
        except (Mismatch, RecursionError) as error:
            failure = _told(error, f'kwargs["{name}"]')
        raise failure
