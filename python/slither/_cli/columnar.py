"""Rows of Parquet and Arrow files: each whole, or a fault with its place.

A run of ``slither run`` pulls them, in the main thread; pyarrow is imported when such a file is
read or written.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
import tempfile
from collections.abc import Iterator
from typing import cast

from slither._cli.reading import ZIPPED, InputRefused, RowFault
from slither._types import Payload

FORMATS = ("parquet", "arrow")
"""The formats of rows in columns."""

# Rows that are made at once of the columns, which a file has by the million.
_ROWS = 1_024
# What a file of Arrow begins with, a stream does not, and one of an older format does.
_FILE, _OLD = b"ARROW1\0\0", b"FEA1"


class PackageMissing(Exception):
    """A package is needed that is not installed; the message says how to get it."""


class TableFault(RowFault):
    """A row of a table that can't be sent: ``line`` is its number, from 1."""

    __slots__ = ()

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"row {self.line}"


def pyarrow_for(what: str) -> Payload:
    """Return pyarrow, or raise :class:`PackageMissing`; ``what`` needs it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise PackageMissing(f"{what} needs pyarrow: pip install 'slither-beam[arrow]'") from None
    return pyarrow


def read(file: io.BufferedReader, name: str, kind: str) -> Iterator[Payload | RowFault]:
    """Give the rows of a file, each a dict, and a :class:`TableFault` for what is none.

    ``kind`` is ``parquet`` or ``arrow``. A row group, or a batch, is in memory at a time. What
    is read from its end, as all Parquet is, is put into a temporary file where it is gzipped or
    comes through a pipe. Raises :class:`InputRefused` where the file as a whole can't be read.
    """
    pyarrow = pyarrow_for(f"{name}: reading {kind}")
    number = 0
    try:
        for batch in _batches(file, name, kind, pyarrow):
            for start in range(0, batch.num_rows, _ROWS):
                part = batch.slice(start, _ROWS)
                yield from _rows(part, number, pyarrow)
                number += part.num_rows
    except (pyarrow.ArrowException, OSError, EOFError) as error:
        place = f"{name}, after row {number}" if number else name
        raise InputRefused(f"{place}: can't be read as {kind}: {_line(error)}") from None


def _batches(
    file: io.BufferedReader, name: str, kind: str, pyarrow: Payload
) -> Iterator[Payload]:
    zipped = file.peek(2)[:2] == ZIPPED
    source = cast(io.BufferedReader, gzip.GzipFile(fileobj=file)) if zipped else file
    head = source.peek(len(_FILE))[: len(_FILE)]
    if head[: len(_OLD)] == _OLD:
        raise InputRefused(f"{name}: Feather of version 1 can't be read: write version 2")
    if kind == "arrow" and head != _FILE:
        yield from pyarrow.ipc.open_stream(source)
        return
    with contextlib.ExitStack() as stack:
        if zipped or not file.seekable():
            # It is read from its end.
            source = stack.enter_context(_spooled(source))
        if kind == "parquet":
            yield from pyarrow.parquet.ParquetFile(source).iter_batches(batch_size=_ROWS)
        else:
            whole = pyarrow.ipc.open_file(source)
            yield from (whole.get_batch(place) for place in range(whole.num_record_batches))


def _spooled(source: io.BufferedReader) -> io.BufferedReader:
    spool = cast(io.BufferedReader, tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(source, spool)
    spool.seek(0)
    return spool


def _rows(batch: Payload, before: int, pyarrow: Payload) -> Iterator[Payload | RowFault]:
    names = batch.schema.names
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise InputRefused(f"two columns are named {twice[0]!r}: a row has one of a name")
    try:
        columns = [_cells(column, pyarrow) for column in batch.columns]
    except (pyarrow.ArrowException, ValueError, OverflowError, KeyError) as error:
        if batch.num_rows == 1:
            yield _fault(batch, before + 1, error, pyarrow)
            return
        # One of them is at fault: each by itself tells which.
        for place in range(batch.num_rows):
            yield from _rows(batch.slice(place, 1), before + place, pyarrow)
        return
    if not columns:
        yield from ({} for _ in range(batch.num_rows))
        return
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def _cells(column: Payload, pyarrow: Payload) -> list[Payload]:
    kind = column.type
    types = pyarrow.types
    # What has nanoseconds goes where it has none left over; else it raises.
    if types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pyarrow.timestamp("us", kind.tz))
    elif types.is_duration(kind) and kind.unit == "ns":
        column = column.cast(pyarrow.duration("us"))
    elif types.is_time64(kind) and kind.unit == "ns":
        column = column.cast(pyarrow.time64("us"))
    cells: list[Payload] = column.to_pylist()
    if types.is_map(kind):
        return [None if cell is None else _mapping(cell) for cell in cells]
    return cells


def _mapping(pairs: list[tuple[Payload, Payload]]) -> dict[Payload, Payload]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a map has a key twice")
    return made


def _fault(batch: Payload, number: int, error: Exception, pyarrow: Payload) -> TableFault:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            _cells(column, pyarrow)
        except (pyarrow.ArrowException, ValueError, OverflowError, KeyError) as found:
            reason = f"column {name!r}, {column.type}: {_line(found)}"
            return TableFault(number, 1, reason, str(column))
    return TableFault(number, 1, _line(error), "")


def _line(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return reason.partition("\n")[0]
