"""What handlers and calls ask of BEAM's side, whoever stands there.

A worker's :class:`slither._worker.connection.Link` answers both; a test's fake, and a recording
that is replayed, answer handlers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._wire.build import Pieces
    from slither._wire.frames import Answer


class Connection(Protocol):
    """What ``slither.worker``, ``views`` and ``store`` ask for.

    ``call`` is the id of the call it is for, 0 outside calls. Every method may be called from any
    thread.
    """

    def ask_view(
        self, call: int, name: str, mode: int, params: Payload, timeout: int | None
    ) -> Answer | None:
        """Ask a view and wait for its answer, ``timeout`` ms at most; None once BEAM is gone."""

    def ask_table(
        self, call: int, table: str, op: str, arguments: tuple[Payload, ...]
    ) -> Answer | None:
        """Ask for an operation on a table and wait for its answer; None once BEAM is gone."""

    def tell_table(self, call: int, table: str, op: str, arguments: tuple[Payload, ...]) -> None:
        """Have an operation run whose answer nobody waits for; it may come from a finaliser."""

    def progress(self, call: int, done: int, total: int | None) -> None:
        """Tell how far a call is."""

    def hold(self, call: int, run: str) -> None:
        """Tell that there is state of ``run`` here, to be dropped when the run is over."""

    def tell(self, body: bytes) -> None:
        """Send a frame that nobody answers."""

    def is_cancelled(self, call: int) -> bool:
        """Tell whether the caller of ``call`` is gone."""


class Serving(Protocol):
    """What follows a call that is traced."""

    def begin(self) -> None:
        """Have its span be the current one; once more, nothing."""

    def raised(self, error: BaseException, fault: dict[str, Payload]) -> None:
        """Take an exception of its handler's, and what is told of it."""

    def end(self, answer: Pieces) -> None:
        """End it, with its answer."""


class Line(Protocol):
    """What a call needs whose handler yields, or runs on an event loop."""

    ahead: int
    """How many results a handler may be ahead of their consumer."""
    on_credit: Callable[[int, int], bool] | None
    """What is called, in the thread that reads, with the id of a call and how many of its results
    BEAM has taken; it tells whether that call is its own."""

    @property
    def news(self) -> int:
        """How much has come for the call that runs."""

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""

    def send(self, pieces: Pieces) -> None:
        """Send one frame."""

    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready``, which changes with what comes, or the end."""

    def is_gone(self, call: int) -> bool:
        """Tell whether nobody waits for a call, as far as it is known."""
