"""Where a run's outputs go, and what keeps them from being written over what is read.

Called by ``slither run``: files are opened before the run begins, and written as outputs come.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from slither._cli.columnar import FORMATS as IN_COLUMNS
from slither._cli.writing import Lines, RowError
from slither._types import Payload


class OutputRefused(Exception):
    """A file can't be written, or would be written over another one that the run needs."""


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputRefused(f"{error.filename} can't be written: {error.strerror}") from None


if TYPE_CHECKING:
    from slither._cli.tables import Table

    Rows: TypeAlias = Lines | Table


def _rows(path: str, kind: str, descriptor: int | None = None) -> Rows:
    if kind not in IN_COLUMNS:
        return Lines(path, kind, descriptor)
    from slither._cli.tables import Table

    return Table(path, kind, descriptor)


class Files:
    """The files of a run, each known by what it is rather than by one of its names."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}
        self._opened: list[Rows] = []

    def keep(self, what: str, file: int | str) -> None:
        """Keep a file, by descriptor or path, from being written over; a path may be free."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._claim(what, file)

    def write(self, path: str, kind: str) -> Rows:
        """Open a file to be written; what it holds stays for now.

        Raises :class:`OutputRefused`.
        """
        with _refused():
            rows = _rows(path, kind)
        self._add(rows)
        return rows

    def lines(self, path: str) -> Lines:
        """Open a file of JSON lines beside the outputs, as :meth:`write` does."""
        with _refused():
            lines = Lines(path, "jsonl")
        self._add(lines)
        return lines

    def _add(self, rows: Rows) -> None:
        self._opened.append(rows)
        self._claim(f"the output {rows.path}", rows.fileno(), rows.path)

    def give_up(self) -> None:
        """Leave everything as it was."""
        for lines in self._opened:
            lines.abandon()
            if lines.made and not lines.begun:
                with contextlib.suppress(OSError):
                    os.unlink(lines.path)

    def _claim(self, what: str, file: int | str, path: str | None = None) -> None:
        found = os.stat(file)
        if not stat.S_ISREG(found.st_mode):
            return
        other = self._known.setdefault((found.st_dev, found.st_ino), what)
        if other is not what:
            raise OutputRefused(f"{path or what} is {other}: it would be written over")


class Folder:
    """A file for each output."""

    def __init__(self, folder: str, names: list[str], kind: str, files: Files) -> None:
        """Open the files; nothing is written yet."""
        with _refused():
            os.makedirs(folder, exist_ok=True)
        self._files = {
            name: files.write(os.path.join(folder, f"{name}.{kind}"), kind) for name in names
        }

    def write(self, output: str, value: Payload) -> None:
        """Take a value."""
        self._files[output].write(value)

    def pass_on(self) -> None:
        """Write what was taken."""
        for file in self._files.values():
            file.pass_on()

    def close(self) -> None:
        """Write what is left: each output has its file, if it is an empty one."""
        for file in self._files.values():
            file.close()

    def finish(self) -> None:
        """Keep what was finished, as far as there is room."""
        if any(file.count for file in self._files.values()):
            for file in self._files.values():
                with contextlib.suppress(OSError):
                    file.close()

    def kept(self) -> str:
        """Say what was finished."""
        self.finish()
        files = self._files.values()
        if not any(file.count for file in files):
            return "nothing was finished, and no output was written"
        return "what was finished is in " + ", ".join(f"{f.path} ({f.kept} rows)" for f in files)


class Stdout:
    """All outputs on stdout, or the bare values of some."""

    def __init__(self, only: list[str] | None, kind: str, descriptor: int) -> None:
        """Take the descriptor."""
        self._only = only
        self._lines = _rows("stdout", kind, descriptor)

    def write(self, output: str, value: Payload) -> None:
        """Take a value."""
        if self._only is None:
            self._lines.write({"output": output, "value": value})
        elif output in self._only:
            try:
                self._lines.write(value)
            except RowError as error:
                raise RowError(f"output {output!r}: {error}") from None

    def pass_on(self) -> None:
        """Write what was taken."""
        self._lines.pass_on()

    def close(self) -> None:
        """Write what is left."""
        self._lines.flush()

    def finish(self) -> None:
        """Write what is left, if somebody reads it."""
        with contextlib.suppress(OSError):
            self._lines.flush()

    def kept(self) -> str:
        """Say what was finished."""
        return "what was finished was printed"
