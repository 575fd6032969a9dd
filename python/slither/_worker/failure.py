"""What stands in a result's place where an item has failed, and what fails them all.

Plain values: handlers make a :class:`Failure`, and the worker a :class:`Raised`.
"""

from __future__ import annotations

from slither._types import Payload


class Failure:
    """Stands in the place of one result, to fail that item and no other.

    Arguments: ``reason``, a str, or any value the protocol carries. ``retry_after`` says that the
    item was only refused for now, and may come again in so many seconds. Where the run has a
    ``rate=``, that is paused for so long, for all who share it, and the item goes again then.

    >>> Failure("no such user").reason
    'no such user'
    >>> Failure("too many requests", retry_after=20)
    Failure('too many requests', retry_after=20)
    """

    __slots__ = ("reason", "retry_after")

    def __init__(self, reason: Payload, *, retry_after: float | None = None) -> None:
        """Keep the reason; ValueError for a ``retry_after`` that is no time."""
        if retry_after is not None and not 0 <= retry_after < float("inf"):
            raise ValueError(f"retry_after takes seconds of 0 or more, not {retry_after!r}")
        self.reason = reason
        self.retry_after = retry_after

    def __repr__(self) -> str:
        """Show the reason."""
        after = "" if self.retry_after is None else f", retry_after={self.retry_after!r}"
        return f"Failure({self.reason!r}{after})"


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
