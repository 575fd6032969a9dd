"""Tables that this program shares with its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slither._types import Payload
from slither.store import Table

if TYPE_CHECKING:
    from slither._driver.connection import Connection
    from slither._wire.frames import Answer


class SharedTable(Table[Payload, Payload]):
    """A table of a Beam, as a mapping in the program that drives it."""

    def __init__(self, name: str, link: Connection) -> None:
        """Take the name and the connection."""
        super().__init__(name)
        self._link = link

    def _send_later(self, op: str, arguments: tuple[object, ...]) -> None:
        self._link.tell_table(self.name, op, arguments)

    def _send(self, op: str, arguments: tuple[object, ...]) -> Answer | None:
        return self._link.ask_table(0, self.name, op, arguments)
