"""Rows of files: JSON lines, CSV, or plain lines, read lazily and written whole."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from bisect import bisect
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from slither._types import Payload

_BUFFER = 65_536


class RowError(Exception):
    """A row that can't be read or written; the message names the place."""


def source_format(name: str, chosen: str | None) -> str:
    """Return the format of an input: the one chosen, or what its name ends in.

    >>> source_format("data.csv", None), source_format("-", None), source_format("a.txt", None)
    ('csv', 'jsonl', 'lines')
    """
    if chosen is not None:
        return chosen
    return {".csv": "csv", ".txt": "lines"}.get(os.path.splitext(name)[1].lower(), "jsonl")


def read(file: IO[str], kind: str, name: str) -> Iterator[Payload]:
    """Give the rows of a file; :class:`RowError` names the line that is none."""
    if kind == "csv":
        yield from _read_csv(file, name)
        return
    for number, line in enumerate(file, 1):
        text = line.rstrip("\n")
        if kind == "lines":
            yield text
        elif text.strip():
            try:
                yield json.loads(text)
            except ValueError as error:
                raise RowError(f"{name}, line {number}: not JSON: {error}") from None


def _read_csv(file: IO[str], name: str) -> Iterator[Payload]:
    reader = csv.DictReader(file)
    for row in reader:
        if None in row or None in row.values():
            fields = len(reader.fieldnames or ())
            raise RowError(f"{name}, line {reader.line_num}: not {fields} fields, as the header")
        yield row


def to_json(value: Payload) -> str:
    """Return a value as JSON on one line.

    What JSON has no type for: bytes are Base64, a datetime is ISO 8601, an array a list.

    >>> to_json({"when": datetime(2024, 1, 2), "data": b"ab", 1: None})
    '{"when": "2024-01-02T00:00:00", "data": "YWI=", "1": null}'
    """
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Payload) -> Payload:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} can't be written as JSON")


class Lines:
    """A file of rows, of which none is ever left in part."""

    def __init__(self, path: str, encode: Callable[[Payload], str]) -> None:
        """Begin the file anew."""
        self.path = path
        self._encode = encode
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._buffer = bytearray()
        # Where each row in the buffer ends.
        self._ends: list[int] = []
        self._whole = 0
        self.count = 0
        """Rows taken."""
        self.kept = 0
        """Rows written."""

    def write(self, value: Payload) -> None:
        """Take a row."""
        try:
            self._buffer += self._encode(value).encode("utf-8", "backslashreplace")
        except (TypeError, ValueError, KeyError) as error:
            raise RowError(f"{self.path}, row {self.count + 1}: {error}") from None
        self.count += 1
        self._ends.append(len(self._buffer))
        if len(self._buffer) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what was taken; OSError after the rows that found room."""
        view = memoryview(bytes(self._buffer))
        ends, self._ends = self._ends, []
        self._buffer.clear()
        written = 0
        try:
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        except OSError as error:
            self._cut(ends, written)
            raise OSError(error.errno, error.strerror, self.path) from None
        self._whole += len(view)
        self.kept += len(ends)

    def close(self) -> None:
        """Write what is left, and close the file."""
        try:
            self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it is; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _cut(self, ends: list[int], written: int) -> None:
        # Half a row would look like a row to some, and like damage to others.
        rows = bisect(ends, written)
        self.kept += rows
        self._whole += ends[rows - 1] if rows else 0
        try:
            os.ftruncate(self._descriptor, self._whole)
            os.lseek(self._descriptor, self._whole, os.SEEK_SET)
        except OSError:
            return


def json_line(value: Payload) -> str:
    """Return a row of JSON lines."""
    return to_json(value) + "\n"


class CsvLines:
    """Turns rows into CSV; the first names the columns."""

    def __init__(self) -> None:
        """Begin with no columns."""
        self._columns: list[str] | None = None

    def __call__(self, value: Payload) -> str:
        """Return a row, the first with the header before it."""
        if not isinstance(value, dict):
            raise TypeError(f"CSV takes dicts, not a {type(value).__name__}; write --to jsonl")
        head = self._columns is None
        if self._columns is None:
            self._columns = [str(key) for key in value]
        odd = set(map(str, value)) ^ set(self._columns)
        if odd:
            raise ValueError(f"other columns than the first row: {', '.join(sorted(odd))}")
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        if head:
            writer.writerow(self._columns)
        named = {str(key): cell for key, cell in value.items()}
        writer.writerow([_cell(named[column]) for column in self._columns])
        return out.getvalue()


def _cell(value: Payload) -> Payload:
    return value if value is None or isinstance(value, str | int | float) else to_json(value)
