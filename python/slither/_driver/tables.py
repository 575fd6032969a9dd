"""The tables that a program shares with its workers.

Any thread of the program's runs this; each operation on a table is one question to BEAM.
"""

from __future__ import annotations

import os
from urllib.parse import quote

from slither._driver import settings
from slither._driver.connection import Connection
from slither._types import Payload
from slither._wire import late
from slither._wire.frames import Answer
from slither.store import Table


class Tables:
    """Those of one Beam that are open, each with the options it was opened with."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._open: dict[str, tuple[object, ...]] = {}

    def open(
        self, name: str, kind: str, durable: settings.StrPath | None, ttl: float | None
    ) -> SharedTable:
        """Return a table, which BEAM makes where it is not open yet: see ``Beam.store``."""
        if not isinstance(name, str) or not name:
            raise ValueError(f"name is a str of a character or more, not {name!r:.80}")
        where = None
        if durable is not None:
            where = os.path.abspath(os.path.join(os.fspath(durable), quote(name, safe="")))
        options = (
            settings.one_of("type", kind, ("set", "ordered_set")),
            where,
            settings.milliseconds("ttl", ttl),
        )
        known = self._open.get(name)
        if known is None:
            facts = dict(zip(("type", "dir", "ttl"), options, strict=True))
            self._link.request("table", {"name": name, **facts})
            self._open[name] = options
        elif known != options:
            raise ValueError(f"the table {name!r} is open already, with other options: {known}")
        return SharedTable(name, self._link)


class SharedTable(Table[Payload, Payload]):
    """A table of a Beam, as a mapping in the program that drives it."""

    def __init__(self, name: str, link: Connection) -> None:
        super().__init__(name)
        self._link = link

    def _send_later(self, op: str, arguments: tuple[object, ...]) -> None:
        self._link.tell_table(self.name, op, arguments)

    def _send(self, op: str, arguments: tuple[object, ...]) -> Answer | None:
        status, value = self._link.ask_table(0, self.name, op, arguments)
        return status, late.made(value) if late.ever() else value
