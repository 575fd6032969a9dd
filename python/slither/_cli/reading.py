"""Rows of a file: JSON lines, CSV or plain lines, each whole or a fault with its place.

A run of ``slither run`` pulls them, in the main thread.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import re
import zlib
from collections import deque
from collections.abc import Iterator
from typing import IO, NamedTuple, Protocol, cast

from slither._driver.run import PAUSED
from slither._errors import EncodeError
from slither._types import Payload
from slither._wire import codec

LONGEST_LINE = 1 << 26
"""Characters that a line may have."""
LONGEST_FIELD = 1 << 24
"""Characters that a field of CSV may have: beyond it, a quote was most likely left open."""

MARKS = "slither-marks"
"""The error handler that marks bytes which are not of the encoding: their place is known so."""
ZIPPED = b"\x1f\x8b"
"""What each gzip file begins with, and no text."""

_ENDS = {
    **{".csv": "csv", ".tsv": "tsv", ".txt": "lines"},
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".arrows", ".ipc", ".feather"), "arrow"),
}
_ODD = re.compile("[\0\udc00-\udcff]")
# A row of JSON may hold half of a character, as an escape, or nest deeply. Only rows like that
# are encoded in advance, to see whether they can be sent.
_ESCAPE = "\\u"
_SHALLOW = 64


class InputRefused(Exception):
    """The input as a whole can't be read; the message names the place."""


class Paused(Exception):
    """The input has no line now; it may have one later."""


class Text(Protocol):
    """What lines are read from."""

    def readline(self, limit: int, /) -> str:
        """Return a line, or so much of it; it may raise :class:`Paused`."""
        ...


class RowFault(NamedTuple):
    """A row that is none: where it begins, or what is wrong in it, and its text."""

    line: int
    column: int
    reason: str
    text: str

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"line {self.line}, column {self.column}"


def source_format(name: str, chosen: str | None) -> str:
    """Return the format of an input: the one chosen, or what its name ends in.

    >>> [source_format(name, None) for name in ("a.csv", "a.tsv.gz", "a.txt", "a.pq", "-")]
    ['csv', 'tsv', 'lines', 'parquet', 'jsonl']
    """
    if chosen is not None:
        return chosen
    plain = name[:-3] if name.lower().endswith(".gz") else name
    return _ENDS.get(os.path.splitext(plain)[1].lower(), "jsonl")


def opened(file: IO[bytes], encoding: str) -> IO[str]:
    """Return the text of a file, which may be gzipped.

    A line ends with a line feed, a carriage return, or both.
    """
    peeks = file if hasattr(file, "peek") else io.BufferedReader(cast(io.RawIOBase, file))
    raw = cast(io.BufferedReader, peeks)
    zipped = raw.peek(2)[:2] == ZIPPED
    data = cast(io.BufferedReader, gzip.GzipFile(fileobj=raw)) if zipped else raw
    return io.TextIOWrapper(data, encoding=encoding, errors=MARKS, newline="")


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    odd = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in odd), error.end


codecs.register_error(MARKS, _mark)


class Lines:
    """The lines of a file with their numbers, which can be given back."""

    def __init__(self, file: Text, name: str, encoding: str) -> None:
        self.name = name
        self.number = 0
        """The line that was given last, from 1."""
        self.taken: list[str] = []
        """The lines that were given since :meth:`begin`."""
        self._file = file
        self._encoding = encoding
        self._again: deque[str] = deque()

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def each(self) -> Iterator[str | None]:
        """Give the lines, and None where there is none now."""
        while True:
            try:
                line = next(self)
            except StopIteration:
                return
            except Paused:
                yield None
            else:
                yield line

    def begin(self) -> None:
        """Forget what was given."""
        self.taken = []

    def again(self) -> None:
        """Give all that was given, but for its first line, once more."""
        self._again.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1
        del self.taken[1:]

    def back(self) -> None:
        """Give all that was given once more."""
        self._again.extendleft(reversed(self.taken))
        self.number -= len(self.taken)
        self.begin()

    def first(self) -> int:
        """Return the number of the first of the taken lines."""
        return self.number - len(self.taken) + 1

    def fault(self, reason: str, column: int = 1) -> RowFault:
        """Return the fault of what was taken; what is wrong with its characters goes first."""
        first = self.first()
        text = "".join(self.taken).rstrip("\r\n")
        return self.odd() or RowFault(first, column, reason, self._shown(text))

    def odd(self) -> RowFault | None:
        """Return the fault of a character that no text has."""
        for number, line in enumerate(self.taken, self.first()):
            # This runs for every line, so the usual, plain ones are passed over quickly.
            if (line.isascii() and "\0" not in line) or (found := _ODD.search(line)) is None:
                continue
            byte = ord(found[0]) & 0xFF
            wrong = f"byte 0x{byte:02x} is not {self._encoding}; --encoding names another"
            reason = wrong if found[0] != "\0" else "a NUL character"
            text = self._shown("".join(self.taken).rstrip("\r\n"))
            return RowFault(number, found.start() + 1, reason, text)
        return None

    def _shown(self, text: str) -> str:
        return _ODD.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", text)

    def _read(self) -> str:
        try:
            line = self._file.readline(LONGEST_LINE)
        except (EOFError, zlib.error, OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            place = f"{self.name}, line {self.number + 1}"
            raise InputRefused(f"{place}: can't be read: {reason}") from None
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            place = f"{self.name}, line {self.number + 1}"
            raise InputRefused(f"{place}: longer than {LONGEST_LINE:,} characters")
        return line[1:] if self.number == 0 and line[:1] == "\ufeff" else line


def read(lines: Lines, kind: str, delimiter: str | None) -> Iterator[Payload | RowFault]:
    """Give the rows of a file, and a :class:`RowFault` for what is none.

    Gives ``PAUSED`` where there is none now, and raises :class:`InputRefused` where the file as a
    whole can't be read.
    """
    if kind in ("csv", "tsv"):
        return _csv(lines, delimiter or ("\t" if kind == "tsv" else ","))
    return _plain(lines) if kind == "lines" else _json(lines)


def _plain(lines: Lines) -> Iterator[Payload | RowFault]:
    for line in lines.each():
        yield PAUSED if line is None else lines.odd() or line.rstrip("\r\n")
        lines.begin()


def _json(lines: Lines) -> Iterator[Payload | RowFault]:
    for line in lines.each():
        if line is None:
            yield PAUSED
            continue
        text = line.rstrip("\r\n")
        if text.strip():
            yield lines.odd() or _value(lines, text)
        lines.begin()


def _value(lines: Lines, text: str) -> Payload | RowFault:
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return lines.fault(f"not JSON: {error.msg}", error.colno)
    except RecursionError:
        return lines.fault("it nests too many arrays and objects")
    except ValueError as error:
        return lines.fault(str(error))
    if _ESCAPE in text or text.count("[") + text.count("{") > _SHALLOW:
        try:
            codec.encode(value, "row")
        except EncodeError as error:
            return lines.fault(f"it can't be sent: {error}")
    return value


def _object(pairs: list[tuple[str, Payload]]) -> dict[str, Payload]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise ValueError(f"the key {twice!r} is there twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _csv(lines: Lines, delimiter: str) -> Iterator[Payload | RowFault]:
    csv.field_size_limit(LONGEST_FIELD)
    records = _records(lines, delimiter)
    while (columns := next(records, None)) is PAUSED:
        yield PAUSED
    if columns is None:
        return
    if isinstance(columns, RowFault):
        place = f"{lines.name}, line {columns.line}, column {columns.column}"
        raise InputRefused(f"{place}: the header: {columns.reason}")
    twice = [column for index, column in enumerate(columns) if column in columns[:index]]
    if twice:
        column = len(columns) - columns[::-1].index(twice[0])
        place = f"{lines.name}, line {lines.first()}, field {column}"
        raise InputRefused(f"{place}: the header has the column {twice[0]!r} twice")
    for record in records:
        if record is PAUSED or isinstance(record, RowFault):
            yield record
        elif len(record) == len(columns):
            yield dict(zip(columns, record, strict=True))
        else:
            what = f"{len(record)} fields, and the header has {len(columns)}"
            beyond = len(record) > len(columns)
            where = f"field {len(columns) + 1} is one too many" if beyond else "no field for "
            lacking = "" if beyond else repr(columns[len(record)])
            yield lines.fault(f"{what}: {where}{lacking}")


def _records(lines: Lines, delimiter: str) -> Iterator[Payload | RowFault]:
    # Without `strict` a quote in the wrong place would silently change the data.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        try:
            record = next(reader)
        except StopIteration:
            return
        except Paused:
            # A row may have begun. It is read from its first line on when there is more.
            lines.back()
            yield PAUSED
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            continue
        except csv.Error as error:
            fault = lines.fault(_words(str(error)))
            if fault.line == lines.first():
                # An open quote has taken in the lines after it. They are read again, so that only
                # the line with the quote is lost.
                lines.again()
                fault = lines.fault(fault.reason)
            yield fault
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            continue
        if record:
            yield lines.odd() or record


def _words(reason: str) -> str:
    if reason == "unexpected end of data":
        return "a quote is opened, and never closed"
    if reason.startswith("field larger than"):
        return f"a field of more than {LONGEST_FIELD:,} characters; is a quote left open?"
    return reason
