"""What stands between a handler and BEAM, as handlers' code sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._wire.frames import Answer


class Connection(Protocol):
    """What ``slither.worker``, ``views`` and ``store`` ask of BEAM's side.

    A worker's link is one, and so are those that stand in for BEAM: a test's fake, and a
    recording that is replayed. ``call`` is the id of the call it is for, 0 outside calls. Every
    method may be called from any thread.
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

    def log(
        self,
        call: int,
        level: str,
        logger: str,
        message: str,
        facts: dict[str, Payload] | None = None,
    ) -> None:
        """Tell of a log record and where it was made, or count it as dropped."""

    def progress(self, call: int, done: int, total: int | None) -> None:
        """Tell how far a call is."""

    def hold(self, call: int, run: str) -> None:
        """Tell that there is state of ``run`` here, to be dropped when the run is over."""

    def is_cancelled(self, call: int) -> bool:
        """Tell whether the caller of ``call`` is gone."""
