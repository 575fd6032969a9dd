"""What single calls of a function have in common, and how each of them is written.

Pure; the thread that submits runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from slither._driver.by_value import Reference
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
        if session is None and held is None:
            return cls(Target(module, name, timeout), typed=typed)
        target = Target.of_any(timeout, session)
        return cls(target, f"{module}.{name}", (module, name), held, typed)

    def call(self, arguments: Sequence[object], named: dict[str, object]) -> Arguments:
        """Return one call as it is sent."""
        if self.before is None:
            return arguments, named
        return (*self.before, arguments, named), {}
