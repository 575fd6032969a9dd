"""What becomes of rows that are none: they stop the run, are left out, or go to a file.

It stands between the reading of rows and the run, which pulls through it.
"""

from __future__ import annotations

from collections.abc import Iterator

from slither._cli.reading import RowFault
from slither._cli.writing import Lines
from slither._types import Payload


class RowRefused(Exception):
    """A row that is none, where that stops the run; the message names the place."""


class BadRows:
    """Lets rows through, and counts those that are none."""

    def __init__(self, name: str, policy: str, file: Lines | None) -> None:
        """Take the input's name, ``stop`` or ``skip``, and a file that gets what is left out."""
        self._name = name
        self._stops = policy == "stop"
        self._file = file
        self.rows = 0
        """Rows so far, with those that are none."""
        self.refused = 0
        """Rows that are none."""

    def through(self, rows: Iterator[Payload | RowFault]) -> Iterator[Payload]:
        """Give the rows; RowRefused for the first that is none where that stops the run."""
        for row in rows:
            self.rows += 1
            if not isinstance(row, RowFault):
                yield row
                continue
            self.refused += 1
            if self._stops:
                place = f"{self._name}, line {row.line}, column {row.column}"
                raise RowRefused(f"{place}: {row.reason}")
            if self._file is not None:
                self._file.write(
                    {
                        "file": self._name,
                        "line": row.line,
                        "column": row.column,
                        "reason": row.reason,
                        "text": row.text,
                    }
                )
