"""``slither run``: a pipe over a file, one file for each output."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

from slither._check import FileRefused, load
from slither._cli import rows
from slither._cli.main import FAILED, MISSING, OK, USAGE
from slither._driver.beam import Beam
from slither._errors import BeamMissing, PipeError, RunError, SlitherError

if TYPE_CHECKING:
    from slither._types import Payload
    from slither.pipe import Pipe


class _Usage(Exception):
    """The command can't be used so."""


def command(options: argparse.Namespace) -> int:
    """Run the pipe; return the exit status."""
    try:
        pipe = _pipe(options.pipe)
        with _opened(options.input) as file:
            return _run(pipe, file, options)
    except _Usage as error:
        return _say(USAGE, error)
    except BeamMissing as error:
        return _say(MISSING, error)
    except SlitherError as error:
        return _say(FAILED, error)


def _pipe(path: str) -> Pipe:
    try:
        found = load(path)
    except (FileRefused, PipeError) as error:
        raise _Usage(f"{path}: {error}") from None
    if len(found) > 1:
        names = ", ".join(pipe.name for pipe in found)
        raise _Usage(f"{path} has several pipes: {names}; name one: {path}:{found[0].name}")
    return found[0]


@contextlib.contextmanager
def _opened(name: str) -> Iterator[IO[str]]:
    if name == "-":
        yield sys.stdin
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(name, encoding="utf-8", newline=""))
        except OSError as error:
            raise _Usage(f"{name} can't be read: {error.strerror}") from None
        yield file


def _run(pipe: Pipe, file: IO[str], options: argparse.Namespace) -> int:
    try:
        document = pipe.document()
    except PipeError as error:
        raise _Usage(str(error)) from None
    out = _writer([*document["outputs"], "default"], options)
    kind = rows.source_format(options.input, options.source)
    items = rows.read(file, kind, "stdin" if options.input == "-" else options.input)
    progress = sys.stderr.isatty() if options.progress is None else options.progress
    with Beam(workers=options.workers, paths=[os.path.dirname(_file(options.pipe))]) as beam:
        for table in {store["table"] for store in document.get("stores", ())}:
            beam.store(table)
        stream = beam.stream(pipe, items, checkpoint=options.checkpoint, progress=progress)
        status = OK
        try:
            for output, value in stream:
                out.write(output, value)
            out.close()
        except BrokenPipeError:
            # Whoever read stdout has seen enough.
            _leave_stdout()
        except OSError as error:
            where = error.filename or "stdout"
            status = _say(FAILED, f"{where} can't be written: {error.strerror}; {out.kept()}")
        except (SlitherError, rows.RowError, UnicodeDecodeError) as error:
            out.finish()
            status = _say(FAILED, f"{_words(error)}; {out.kept()}")
        except BaseException:
            out.finish()
            raise
        finally:
            stream.close()
        if not options.quiet:
            sys.stderr.write(f"{stream.summary}\n")
    return status


def _file(pipe: str) -> str:
    return os.path.abspath(pipe.partition(":")[0])


def _words(error: Exception) -> str:
    cause = error.__cause__
    remote = str(cause.__cause__) if isinstance(error, RunError) and cause is not None else ""
    return f"{error}{remote}" if remote and remote != "None" else str(error)


class _Folder:
    """A file for each output."""

    def __init__(self, folder: str, outputs: list[str], kind: str) -> None:
        try:
            os.makedirs(folder, exist_ok=True)
            self._files = {
                name: rows.Lines(os.path.join(folder, f"{name}.{kind}"), _encoder(kind))
                for name in outputs
            }
        except OSError as error:
            raise _Usage(f"{error.filename} can't be written: {error.strerror}") from None

    def write(self, output: str, value: Payload) -> None:
        self._files[output].write(value)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def finish(self) -> None:
        """Keep what was finished, as far as there is room."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()

    def kept(self) -> str:
        self.finish()
        files = self._files.values()
        return "what was finished is in " + ", ".join(f"{f.path} ({f.kept} rows)" for f in files)


class _Stdout:
    """All outputs on stdout, or the bare values of some."""

    def __init__(self, only: list[str] | None, encode: Callable[[Payload], str]) -> None:
        self._only = only
        self._encode = encode

    def write(self, output: str, value: Payload) -> None:
        if self._only is None:
            sys.stdout.write(self._encode({"output": output, "value": value}))
        elif output in self._only:
            try:
                sys.stdout.write(self._encode(value))
            except (TypeError, ValueError) as error:
                raise rows.RowError(f"output {output!r}: {error}") from None

    def close(self) -> None:
        sys.stdout.flush()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.flush()

    def kept(self) -> str:
        return "what was finished was printed"


def _writer(outputs: list[str], options: argparse.Namespace) -> _Folder | _Stdout:
    kind = options.to or "jsonl"
    for name in options.only or ():
        if name not in outputs:
            known = ", ".join(outputs)
            raise _Usage(f"--only {name}: the pipe has no such output; it has {known}")
    if options.output is not None:
        if options.only:
            raise _Usage("--only goes without --output")
        return _Folder(options.output, outputs, kind)
    if kind == "csv" and (options.only is None or len(options.only) > 1):
        raise _Usage("--to csv on stdout goes with one --only OUTPUT")
    return _Stdout(options.only, _encoder(kind))


def _encoder(kind: str) -> Callable[[Payload], str]:
    return rows.CsvLines() if kind == "csv" else rows.json_line


def _leave_stdout() -> None:
    # Or Python would complain at its end that it can't flush.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(status: int, message: object) -> int:
    sys.stderr.write(f"slither: {message}\n")
    return status
