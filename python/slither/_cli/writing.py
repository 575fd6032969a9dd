"""Rows to write: JSON lines or CSV, gzipped or not, in files of which no row is ever in part.

Called by ``slither run``, in the thread that takes outputs.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import stat
from bisect import bisect
from collections.abc import Callable
from typing import NamedTuple

from slither._types import Payload
from slither._wire.types.table import as_json

FORMATS = ("jsonl", "csv", "tsv", "jsonl.gz", "csv.gz", "tsv.gz", "parquet", "arrow")
_BUFFER = 65_536
_IN_JSON = (str, int, float, type(None))


class RowError(Exception):
    """A row that can't be written; the message names the place."""


def to_json(value: Payload) -> str:
    """Return a value as JSON on one line.

    What JSON has no type for: dates and times are ISO 8601, a timedelta seconds, a decimal and a
    UUID text, bytes are Base64; a tuple, a set, an array and a complex number are lists. A tagged
    value is its data. A key is as a value is, and text.

    >>> from datetime import datetime
    >>> to_json({"when": datetime(2024, 1, 2), "data": b"ab", 1: {(1, 2)}})
    '{"when": "2024-01-02T00:00:00", "data": "YWI=", "1": [[1, 2]]}'
    """
    try:
        return json.dumps(value, ensure_ascii=False, default=as_json)
    except TypeError:
        # Keys have no default. A value that has none either raises again.
        return json.dumps(_with_keys(value), ensure_ascii=False, default=as_json)


def _with_keys(value: Payload) -> Payload:
    if isinstance(value, dict):
        return {_key(key): _with_keys(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_keys(part) for part in value]
    if isinstance(value, _IN_JSON):
        return value
    return _with_keys(as_json(value))


def _key(key: Payload) -> Payload:
    if isinstance(key, _IN_JSON):
        return key
    plain = as_json(key)
    return plain if isinstance(plain, str) else to_json(plain)


class Lines:
    """A file of rows, of which none is ever left in part.

    It is opened as it is: what it holds goes when the first rows are written, or at
    :meth:`close`.
    """

    def __init__(self, path: str, kind: str, descriptor: int | None = None) -> None:
        """Open a file, or take a descriptor; ``kind`` is one of ``FORMATS`` that has lines."""
        self.path = path
        plain = kind.removesuffix(".gz")
        self._encode: Callable[[Payload], str] = json_line
        if plain != "jsonl":
            self._encode = CsvLines("\t" if plain == "tsv" else ",")
        # Each write is a gzip file of its own; several, one after the other, are read as one.
        self._zip = kind.endswith(".gz")
        self._descriptor, self.made, self.begun = opened(path, descriptor)
        self._buffer = bytearray()
        # Where each row in the buffer ends.
        self._ends: list[int] = []
        self._whole = 0
        self.count = 0
        """Rows taken."""
        self.kept = 0
        """Rows written."""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def write(self, value: Payload) -> None:
        """Take a row."""
        try:
            self._buffer += self._encode(value).encode("utf-8", "backslashreplace")
        except (TypeError, ValueError, KeyError, RecursionError) as error:
            raise RowError(f"{self.path}, row {self.count + 1}: {error}") from None
        self.count += 1
        self._ends.append(len(self._buffer))
        if len(self._buffer) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what was taken; OSError after the rows that found room."""
        if not self.begun:
            self.begun = True
            os.ftruncate(self._descriptor, 0)
        ends, self._ends = self._ends, []
        if not ends:
            return
        view = memoryview(
            gzip.compress(self._buffer, mtime=0) if self._zip else bytes(self._buffer)
        )
        self._buffer.clear()
        written = 0
        try:
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        except OSError as error:
            self._cut([] if self._zip else ends, written)
            raise OSError(error.errno, error.strerror, self.path) from None
        self._whole += len(view)
        self.kept += len(ends)

    def pass_on(self) -> None:
        """Write what was taken, if there is any; a gzipped file waits for enough of it."""
        # Each write is a gzip file of its own, which for a single row is longer than the row.
        if self._ends and not self._zip:
            self.flush()

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

    def _cut(self, ends: list[int], written: int) -> None:
        # Cuts half a row off, which a reader might take for a whole one, or for damage.
        rows = bisect(ends, written)
        self.kept += rows
        self._whole += ends[rows - 1] if rows else 0
        try:
            os.ftruncate(self._descriptor, self._whole)
            os.lseek(self._descriptor, self._whole, os.SEEK_SET)
        except OSError:
            return


class Opened(NamedTuple):
    """A file to write: whether it was not there before, and whether what it held is gone."""

    descriptor: int
    made: bool
    begun: bool


def opened(path: str, descriptor: int | None) -> Opened:
    """Open a file as it is, or take a descriptor."""
    if descriptor is not None:
        return Opened(descriptor, False, True)
    made = True
    try:
        found = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        # The path may be a dangling link. Without O_EXCL, its target is created.
        made, found = False, os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    return Opened(found, made, not stat.S_ISREG(os.fstat(found).st_mode))


def json_line(value: Payload) -> str:
    """Return a row of JSON lines."""
    return to_json(value) + "\n"


class CsvLines:
    """Turns rows into CSV; the first names the columns."""

    def __init__(self, delimiter: str = ",") -> None:
        self._columns: list[str] | None = None
        self._delimiter = delimiter

    def __call__(self, value: Payload) -> str:
        if not isinstance(value, dict):
            raise TypeError(f"CSV takes dicts, not a {type(value).__name__}; write --to jsonl")
        head = ""
        if self._columns is None:
            self._columns = [str(key) for key in value]
            head = self._line(self._columns)
        odd = set(map(str, value)) ^ set(self._columns)
        if odd:
            raise ValueError(f"other columns than the first row: {', '.join(sorted(odd))}")
        named = {str(key): cell for key, cell in value.items()}
        return head + self._line([_cell(named[column]) for column in self._columns])

    def _line(self, cells: list[Payload]) -> str:
        out = io.StringIO()
        # The csv module quotes fields with a character of the terminator: here both, CR and LF.
        csv.writer(out, delimiter=self._delimiter, lineterminator="\r\n").writerow(cells)
        return out.getvalue()[:-2] + "\n"


def _cell(value: Payload) -> Payload:
    if not isinstance(value, (dict, list, tuple, *_IN_JSON)):
        value = as_json(value)
    return value if isinstance(value, _IN_JSON) else to_json(value)
