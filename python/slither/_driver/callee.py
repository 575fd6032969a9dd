"""What single calls of a function have in common, and how each of them is written.

Pure; the thread that submits runs it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from slither._by_value import plain
from slither._driver.by_value import Bound, Reference
from slither._driver.window import Arguments, Target
from slither._typed.functions import Typed


class Callee(NamedTuple):
    """A function that is to be called, by itself or by way of one that calls any."""

    target: Target
    called: str = ""
    """What it is, where the target does not say it."""
    before: tuple[str, str] | None = None
    """The arguments that go before its own there: its module and its name."""
    held: object = None
    typed: Typed | None = None
    """Makes a result what the function says that it gives."""
    bound: functools.partial[object] | None = None
    """A partial whose arguments go with those of each call."""

    @classmethod
    def of(
        cls,
        found: Reference,
        timeout: int | None,
        session: str | None = None,
        typed: Typed | None = None,
    ) -> Callee:
        """Return that of a function, whose calls may take ``timeout`` milliseconds."""
        module, name, held = found
        bound = found.partial if isinstance(found, Bound) else None
        if session is None and held is None:
            return cls(Target(module, name, timeout), typed=typed, bound=bound)
        target = Target.of_any(timeout, session)
        return cls(target, plain(f"{module}.{name}"), (module, name), held, typed, bound)

    def call(self, arguments: Sequence[object], named: dict[str, object]) -> Arguments:
        """Return one call as it is sent."""
        if self.bound is not None:
            arguments = filled(self.bound.args, arguments)
            named = {**self.bound.keywords, **named}
        if self.before is None:
            return arguments, named
        return (*self.before, arguments, named), {}


# What a partial has in the place of an argument that is still to come, from Python 3.14 on.
_LATER: object = getattr(functools, "Placeholder", object())


def filled(bound: Sequence[object], arguments: Sequence[object]) -> tuple[object, ...]:
    """Return the arguments of a partial's function, or raise TypeError where some are missing.

    >>> filled((1, 2), (3,))
    (1, 2, 3)
    """
    missing = sum(argument is _LATER for argument in bound) - len(arguments)
    if missing > 0:
        raise TypeError(
            f"the partial leaves places free, and {missing} of their arguments are missing"
        )
    rest = iter(arguments)
    return (*(next(rest) if part is _LATER else part for part in bound), *rest)
