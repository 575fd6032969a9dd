"""Files of rows in columns: Parquet and Arrow, written a group of rows at a time.

Called by ``slither run``, in the thread that takes outputs.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from slither._cli.columnar import pyarrow_for
from slither._cli.writing import RowError, opened, to_json
from slither._types import Payload

# A group is written with so many rows, or so many bytes of text and data.
_ROWS = 10_000
_BYTES = 1 << 26
_DIGITS = 38
_AS_THEY_ARE = (
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    date,
    time,
    datetime,
    timedelta,
    Decimal,
)


class _OddError(Exception):
    """A row does not go with those before it."""

    def __init__(self, place: int, column: str, why: str) -> None:
        super().__init__(why)
        self.place, self.column, self.why = place, column, why


class Table:
    """A file of rows in columns, which is whole from its :meth:`close` on.

    The columns and their types are those of the first group of rows. It is used as
    :class:`slither._cli.writing.Lines` is.
    """

    def __init__(self, path: str, kind: str, descriptor: int | None = None) -> None:
        """Open a file, or take a descriptor; ``kind`` is ``parquet`` or ``arrow``."""
        self._pyarrow = pyarrow_for(f"writing {kind}")
        self._wrong = (self._pyarrow.ArrowException, TypeError, ValueError, OverflowError)
        self.path = path
        self._kind = kind
        self._descriptor, self.made, self.begun = opened(path, descriptor)
        self.count = 0
        """Rows taken."""
        self.kept = 0
        """Rows written."""
        self._rows: list[dict[str, Payload]] = []
        self._weight = 0
        self._schema: Payload = None
        self._writer: Payload = None
        self._sink = _Sink()
        self._ended = False

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def write(self, value: Payload) -> None:
        """Take a row."""
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise RowError(
                f"{self.path}, row {self.count + 1}: {self._kind} takes dicts, not a {kind}; "
                "write --to jsonl"
            )
        self._rows.append({str(key): _cell(cell) for key, cell in value.items()})
        self._weight += _weight(self._rows[-1])
        self.count += 1
        if len(self._rows) >= _ROWS or self._weight >= _BYTES:
            self._group()

    def pass_on(self) -> None:
        """Do nothing: a group waits for enough rows."""

    def flush(self) -> None:
        """Write what is left, and the end of the file, after which nothing is written."""
        if self._ended:
            return
        try:
            self._group()
        finally:
            self._end()

    def close(self) -> None:
        """Write what is left, and close the file."""
        try:
            if self._descriptor >= 0:
                self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it is; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _group(self) -> None:
        rows, self._rows, self._weight = self._rows, [], 0
        if rows:
            self._add(rows)

    def _add(self, rows: list[dict[str, Payload]]) -> None:
        try:
            table = self._table(rows)
        except _OddError as odd:
            # Those before it are whole, unless one of them is odd in another column.
            if odd.place:
                self._add(rows[: odd.place])
            raise RowError(
                f"{self.path}, row {self.kept + 1}: column {odd.column!r}: {odd.why}"
            ) from None
        if self._writer is None:
            self._writer = self._open()
        self._writer.write_table(table)
        self._push()
        self.kept += len(rows)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._writer is None:
            self._schema = self._pyarrow.schema([])
            self._writer = self._open()
        self._writer.close()
        self._push()

    def _open(self) -> Payload:
        pyarrow = self._pyarrow
        if self._kind == "parquet":
            return pyarrow.parquet.ParquetWriter(self._sink, self._schema)
        return pyarrow.ipc.new_file(self._sink, self._schema)

    def _table(self, rows: list[dict[str, Payload]]) -> Payload:
        pyarrow = self._pyarrow
        if self._schema is None:
            names = dict.fromkeys(name for row in rows for name in row)
            table = pyarrow.table({name: self._first(name, rows) for name in names})
            self._schema = table.schema
            return table
        known = set(self._schema.names)
        for place, row in enumerate(rows):
            if odd := [name for name in row if name not in known]:
                raise _OddError(place, odd[0], "the first rows have no such column")
        columns = [self._column(field, rows) for field in self._schema]
        return pyarrow.table(columns, schema=self._schema)

    def _first(self, name: str, rows: list[dict[str, Payload]]) -> Payload:
        pyarrow = self._pyarrow
        cells = [row.get(name) for row in rows]
        found = self._made(name, cells, pyarrow.array, "")
        if pyarrow.types.is_decimal(found.type):
            # Those of later rows may have more digits.
            return found.cast(pyarrow.decimal128(_DIGITS, found.type.scale))
        return found

    def _column(self, field: Payload, rows: list[dict[str, Payload]]) -> Payload:
        def make(cells: list[Payload]) -> Payload:
            found = self._pyarrow.array(cells)
            if found.type == field.type:
                return found
            if not _goes_into(found.type, field.type, self._pyarrow.types):
                raise TypeError(f"it has {found.type}")
            return self._pyarrow.array(cells, type=field.type)

        cells = [row.get(field.name) for row in rows]
        return self._made(
            field.name, cells, make, f"the first rows have {field.type}, and this one: "
        )

    def _made(
        self,
        name: str,
        cells: list[Payload],
        make: Callable[[list[Payload]], Payload],
        before: str,
    ) -> Payload:
        try:
            return make(cells)
        except self._wrong as error:
            why = f"{before}{_line(error)}"
        # The first that doesn't go with those before it.
        good, bad = 0, len(cells)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                make(cells[:middle])
                good = middle
            except self._wrong:
                bad = middle
        raise _OddError(bad - 1, name, why)

    def _push(self) -> None:
        """Write what the writer has made; OSError where there is no room."""
        if not self.begun:
            self.begun = True
            os.ftruncate(self._descriptor, 0)
        view = memoryview(self._sink.take())
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            # Without its end it is no file of its kind, and there is no room for one.
            self._ended, self.kept = True, 0
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            raise OSError(error.errno, error.strerror, self.path) from None


def _goes_into(found: Payload, kind: Payload, types: Payload) -> bool:
    """Tell whether values of a type lose nothing as another, which pyarrow itself does not."""
    if found == kind or types.is_null(found):
        return True
    if types.is_integer(found):
        return bool(types.is_integer(kind) or types.is_floating(kind))
    if types.is_list(found) and types.is_list(kind):
        return _goes_into(found.value_type, kind.value_type, types)
    if types.is_struct(found) and types.is_struct(kind):
        known = {field.name: field.type for field in kind}
        return all(
            field.name in known and _goes_into(field.type, known[field.name], types)
            for field in found
        )
    return bool(types.is_decimal(found) and types.is_decimal(kind))


class _Sink:
    """What pyarrow writes into: it holds the bytes until they go to the file."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def _cell(value: Payload) -> Payload:
    """Return what Arrow has a type for: others as JSON has them."""
    if isinstance(value, dict):
        return {str(key): _cell(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_cell(part) for part in value]
    if isinstance(value, _AS_THEY_ARE):
        return value
    if hasattr(value, "tolist"):
        return _cell(value.tolist())
    return json.loads(to_json(value))


def _weight(row: Iterable[Payload] | dict[str, Payload]) -> int:
    cells = row.values() if isinstance(row, dict) else row
    total = 0
    for cell in cells:
        if isinstance(cell, str | bytes):
            total += len(cell)
        elif isinstance(cell, dict | list):
            total += _weight(cell)
        total += 16
    return total


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
