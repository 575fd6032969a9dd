"""What stands in a result's place where an item has failed, and what fails them all.

Plain values: handlers make a :class:`Failure`, and the worker a :class:`Raised`.
"""

from __future__ import annotations

from slither._types import Payload


class Failure:
    """Stands in the place of one result, to fail that item and no other.

    Arguments: ``reason``, a str, or any value the protocol carries.

    >>> Failure("no such user").reason
    'no such user'
    """

    __slots__ = ("reason",)

    def __init__(self, reason: Payload) -> None:
        """Keep the reason."""
        self.reason = reason

    def __repr__(self) -> str:
        """Show the reason."""
        return f"Failure({self.reason!r})"


class BatchError(Exception):
    """All items that are left fail; ``error`` is the error map."""

    def __init__(self, error: dict[str, Payload]) -> None:
        super().__init__(error["message"])
        self.error = error


class Raised(Failure):
    """Stands in the place of one result whose handler raised."""

    __slots__ = ("error",)

    def __init__(self, error: dict[str, Payload]) -> None:
        super().__init__(error["message"])
        self.error = error
