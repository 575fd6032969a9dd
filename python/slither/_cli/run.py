"""``slither run``: a pipe over a file, one file for each output.

The main thread of the command runs it: it pulls rows as the run has room for them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from slither._cli import columnar, live, reading
from slither._cli.check import FileRefused, load
from slither._cli.failures import SKIPPED, BadRows, Failures, RowRefused, limit, told, without
from slither._cli.main import FAILED, MISSING, OK, TOO_MANY, USAGE
from slither._cli.outputs import Files, Folder, OutputRefused, Stdout
from slither._cli.writing import FORMATS, Lines, RowError
from slither._driver.beam import Beam
from slither._driver.pipe_run import PipeRun
from slither._driver.run import results
from slither._errors import BeamMissing, PipeError, RunError, SlitherError
from slither._pipe.definition import Pipe
from slither._types import Payload
from slither.logs import JsonFormatter


class _Usage(Exception):
    """The command can't be used so."""


def command(options: argparse.Namespace) -> int:
    """Run the pipe; return the exit status."""
    if options.log == "json":
        _log_json()
    elif options.watch:
        _say_reloads()
    try:
        with _stdout_for_data(options.output) as stdout:
            pipe = _pipe(options.pipe)
            with _opened(options.input) as file:
                return _run(pipe, file, stdout, options)
    except (_Usage, OutputRefused) as error:
        return _say(USAGE, error)
    except (BeamMissing, columnar.PackageMissing) as error:
        return _say(MISSING, error)
    except SlitherError as error:
        return _say(FAILED, error)


def _log_json() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    # Over what the file of the pipe sets up: it is asked for here.
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _say_reloads() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("slither: %(message)s"))
    logger = logging.getLogger("slither.beam")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    # The file of the pipe may set up a log of its own.
    logger.propagate = False


@contextlib.contextmanager
def _stdout_for_data(output: str | None) -> Iterator[int]:
    """Give a descriptor of stdout; what anybody else writes to stdout goes to stderr meanwhile.

    Handlers print, and so do libraries, in C too, and processes that they start.
    """
    _flush()
    # The next file that is opened would get the number of a closed stream.
    if not _is_open(2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if not _is_open(1):
        if output in (None, "-"):
            raise _Usage("stdout is closed; give --output DIR")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    data = os.dup(1)
    try:
        os.dup2(2, 1)
        yield data
    finally:
        _flush()
        os.dup2(data, 1)
        os.close(data)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()


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
def _opened(name: str) -> Iterator[io.BufferedReader]:
    if name == "-":
        if sys.stdin is None:
            raise _Usage("stdin is closed; give --input FILE")
        yield cast(io.BufferedReader, sys.stdin.buffer)
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(name, "rb"))
        except OSError as error:
            raise _Usage(f"{name} can't be read: {error.strerror}") from None
        yield file


@dataclass
class _Sinks:
    """Where all that comes of a run goes."""

    out: Folder | Stdout
    bad: BadRows
    failures: Failures
    aside: list[Lines]
    """The files beside the outputs."""
    at_once: bool
    """Whether somebody may wait for each row."""

    def pass_on(self) -> None:
        """Write what was taken, if somebody may wait for it."""
        if self.at_once:
            self.out.pass_on()
            for lines in self.aside:
                lines.pass_on()


def _run(pipe: Pipe, file: io.BufferedReader, stdout: int, options: argparse.Namespace) -> int:
    try:
        document = pipe.document()
    except PipeError as error:
        raise _Usage(str(error)) from None
    name = "stdin" if options.input == "-" else options.input
    kind = reading.source_format(options.input, options.source)
    if options.delimiter is not None and kind not in ("csv", "tsv"):
        raise _Usage(f"--delimiter goes with rows of CSV, not with {kind}")
    if kind in columnar.FORMATS:
        columnar.pyarrow_for(f"{name}: reading {kind}")
    terminal = sys.stderr is not None and sys.stderr.isatty()
    progress = terminal if options.progress is None else options.progress
    with (
        _sinks([*document["outputs"], "default"], file, stdout, options, name) as sinks,
        _beam(options) as beam,
        _text(file, options.encoding, kind) as text,
    ):
        if text is None:
            found = columnar.read(file, name, kind)
        else:
            lines = reading.Lines(text, name, options.encoding)
            found = reading.read(lines, kind, options.delimiter)
        rows = sinks.bad.through(found)
        for table in {store["table"] for store in document.get("stores", ())}:
            beam.table(table)
        run = PipeRun.over(
            beam,
            pipe,
            rows,
            progress,
            checkpoint=options.checkpoint,
            resume=options.resume,
            document=told(document),
        )
        run.failed = sinks.failures
        if isinstance(text, live.Live):
            run.inbox.wake = text.wake
        status = _drain(run, rows, sinks)
        if not options.quiet and sys.stderr is not None:
            sys.stderr.write(f"{without(run.summary or run.so_far())}\n")
            if sinks.bad.refused:
                sys.stderr.write(f"  {'bad rows':<12} {sinks.bad.refused}\n")
    if status == OK and options.max_errors is not None:
        failed, of = sinks.failures.count + sinks.bad.refused, sinks.bad.rows
        if limit(options.max_errors)(failed, of):
            what = f"{failed} of {of} rows failed"
            return _say(TOO_MANY, f"{what}, more than --max-errors {options.max_errors}")
    return status


def _beam(options: argparse.Namespace) -> Beam:
    port = options.dashboard_port
    return Beam(
        workers=options.workers,
        paths=[os.path.dirname(_file(options.pipe))],
        dashboard=options.dashboard if port is None else {"port": port},
        watch=options.watch,
    )


@contextlib.contextmanager
def _text(file: io.BufferedReader, encoding: str, kind: str) -> Iterator[reading.Text | None]:
    if kind in columnar.FORMATS:
        yield None
        return
    found = live.opened(file, encoding) if _may_pause(file) else None
    if found is None:
        yield reading.opened(file, encoding)
    else:
        with found:
            yield found


def _may_pause(file: io.BufferedReader) -> bool:
    return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _drain(run: PipeRun, rows: Iterator[Payload], sinks: _Sinks) -> int:
    out = sinks.out
    try:
        for part in results(run, rows):
            for output, value in part:
                if output != SKIPPED:
                    out.write(output, value)
            sinks.pass_on()
        out.close()
        for lines in sinks.aside:
            lines.close()
    except BrokenPipeError:
        # The program that reads stdout has ended, as `head` does when it has seen enough.
        return OK
    except OSError as error:
        where = error.filename or "stdout"
        return _say(FAILED, f"{where} can't be written: {error.strerror}; {out.kept()}")
    except (SlitherError, RowError, RowRefused, reading.InputRefused) as error:
        out.finish()
        return _say(FAILED, f"{_words(error)}; {out.kept()}")
    except BaseException:
        out.finish()
        raise
    finally:
        run.close()
        for lines in sinks.aside:
            with contextlib.suppress(OSError):
                lines.close()
    return OK


def _file(pipe: str) -> str:
    return os.path.abspath(pipe.partition(":")[0])


def _words(error: Exception) -> str:
    cause = error.__cause__
    remote = str(cause.__cause__) if isinstance(error, RunError) and cause is not None else ""
    return f"{error}{remote}" if remote and remote != "None" else str(error)


@contextlib.contextmanager
def _sinks(
    outputs: list[str],
    file: io.BufferedReader,
    stdout: int,
    options: argparse.Namespace,
    name: str,
) -> Iterator[_Sinks]:
    """Open the files of a run, and leave those as they were of which nothing was written."""
    files = Files()
    policy = options.on_bad_row
    paths = (None if policy in ("stop", "skip") else policy, options.errors)
    try:
        files.keep("the input", file.fileno())
        files.keep("the pipe's file", _file(options.pipe))
        out = _writer(outputs, stdout, files, options)
        rejects, errors = (None if path is None else files.lines(path) for path in paths)
        if options.checkpoint is not None:
            files.keep(f"the checkpoint {options.checkpoint}", options.checkpoint)
        aside = [lines for lines in (rejects, errors) if lines is not None]
        # Rows come from a program, or go to a terminal.
        at_once = _may_pause(file) or os.isatty(stdout)
        yield _Sinks(out, BadRows(name, policy, rejects), Failures(errors), aside, at_once)
    finally:
        files.give_up()


def _writer(
    outputs: list[str], stdout: int, files: Files, options: argparse.Namespace
) -> Folder | Stdout:
    kind = options.to or "jsonl"
    for name in options.only or ():
        if name not in outputs:
            known = ", ".join(outputs)
            raise _Usage(f"--only {name}: the pipe has no such output; it has {known}")
    if options.output not in (None, "-"):
        if options.only:
            raise _Usage("--only goes without --output")
        ending = next((one for one in FORMATS if options.output.endswith(f".{one}")), None)
        if ending and not os.path.isdir(options.output):
            instead = options.output.removesuffix(f".{ending}") or "out"
            raise _Usage(
                f"--output {options.output}: it is a folder, with a file for each output; "
                f"write --output {instead} --to {ending}"
            )
        return Folder(options.output, outputs, kind, files)
    if not kind.startswith("jsonl") and (options.only is None or len(options.only) > 1):
        raise _Usage(f"--to {kind} on stdout goes with one --only OUTPUT")
    files.keep("stdout", stdout)
    return Stdout(options.only, kind, stdout)


def _say(status: int, message: object) -> int:
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"slither: {message}\n")
    return status
