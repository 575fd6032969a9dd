"""The arguments of the command ``slither``, and its exit statuses.

The process of the command calls :func:`main`, which loads what the chosen command needs.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from slither._cli.writing import FORMATS
from slither._version import __version__

OK, FAILED, USAGE, MISSING, TOO_MANY, INTERRUPTED = 0, 1, 2, 3, 4, 130

_STATUSES = """exit status:
  0    all went well
  1    the run stopped: an item or a row failed, the input could not be read, an output could not
       be written, a checkpoint was refused; or a check found something
  2    the command can't be used so: an unknown option, a file that is not there, an output that
       would be written over the input; nothing was run or written
  3    something is not installed: Erlang, the BEAM side of Slither, or pyarrow
  4    the run went to its end, and more failed than --max-errors allows
  130  interrupted by Ctrl-C
"""
_told: Any = {"epilog": _STATUSES, "formatter_class": argparse.RawDescriptionHelpFormatter}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parsed(given)
    try:
        # Each command loads what it needs, and no more.
        status: int = import_module(f"slither._cli.{options.command}").command(options)
    except KeyboardInterrupt:
        sys.stderr.write("slither: interrupted\n")
        return INTERRUPTED
    return status


def _parsed(given: list[str]) -> argparse.Namespace:
    try:
        return parser().parse_args(given)
    except SystemExit as refused:
        if refused.code == USAGE and given[:1] == ["diagnose"]:
            # Its 2 says to machines that something fails.
            raise SystemExit(MISSING) from None
        raise


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    top = argparse.ArgumentParser(
        prog="slither", description="Pipes of Python functions, run by BEAM.", **_told
    )
    top.add_argument("--version", action="version", version=f"slither {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", dest="command", required=True)
    about = "Run a pipe over rows, one file for each output."
    _run(commands.add_parser("run", help="run a pipe over a file", description=about, **_told))
    check = commands.add_parser(
        "check",
        help="validate a file's pipes, and draw them",
        description="Validate the pipes of a file, and draw each.",
        **_told,
    )
    check.add_argument("pipe", metavar="FILE[:NAME]", help="the file, and which of its pipes")
    check.add_argument("--mermaid", action="store_true", help="draw as a Mermaid flowchart")
    _watch(commands)
    about = "say what is installed, what is missing, and how to get it"
    commands.add_parser("doctor", help=about, description=f"{about.capitalize()}.")
    return top


def _watch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "show what goes on in a program that runs: a verdict, what flows, waits and fails"
    ends = "q or Ctrl-C ends the show. Where stdout is no terminal, it prints a line a second."
    top = commands.add_parser("top", help=about, description=f"{about.capitalize()}. {ends}")
    about = "say whether something is wrong in a program that runs"
    diagnose = commands.add_parser(
        "diagnose",
        help=about,
        description=f"{about.capitalize()}, with the evidence.",
        epilog="exit status:\n  0  all is well\n  1  something waits\n  2  something fails\n"
        "  3  there is no such program, or the command can't be used so\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    diagnose.add_argument("--json", action="store_true", help="as one object, for machines")
    for parser in (top, diagnose):
        parser.add_argument("pid", nargs="?", type=_count, metavar="PID",
            help="the process of the program; needed where several run")  # fmt: skip


def _run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("pipe", metavar="FILE[:NAME]", help="the file that has the pipe, and which of several")
    add("--input", default="-", metavar="FILE",
        help="rows to read, which may be gzipped; - (the default) is stdin")  # fmt: skip
    add("--output", metavar="DIR",
        help="folder for a file per output; - (the default) is stdout, and all else that prints "
             "goes to stderr")  # fmt: skip
    add("--from", dest="source", choices=["jsonl", "csv", "tsv", "lines", "parquet", "arrow"],
        metavar="FORMAT",
        help="jsonl, csv, tsv, lines, parquet or arrow; by default as the input's name ends "
             "(.csv, .tsv, .txt, .arrow, .feather, each with .gz or without, .parquet), else "
             "jsonl")  # fmt: skip
    add("--encoding", type=_encoding, default="utf-8", metavar="NAME",
        help="what the input is written in; utf-8 by default")  # fmt: skip
    add("--delimiter", type=_delimiter, metavar="C",
        help="the character between fields of CSV, or tab")  # fmt: skip
    add("--on-bad-row", default="stop", metavar="stop|skip|FILE",
        help="what becomes of a row that is none: it stops the run (the default), is left out, "
             "or goes to a file of JSON lines, with its place and the reason")  # fmt: skip
    add("--to", choices=FORMATS, metavar="FORMAT",
        help="jsonl (the default), csv or tsv, each with .gz or without, parquet or "
             "arrow")  # fmt: skip
    add("--only", action="append", metavar="OUTPUT",
        help="on stdout, give the bare values of this output")  # fmt: skip
    add("--errors", metavar="FILE",
        help="write each item that failed there, as JSON lines: payload, error (kind, type, "
             "message), stage, traceback, and the output it was sent to")  # fmt: skip
    add("--max-errors", type=_limit, metavar="N|P%",
        help="end with 4 where more rows and items failed than that")  # fmt: skip
    add("--workers", type=_workers, metavar="N|N-M",
        help="Python processes, or the least and the most; one per core by default")  # fmt: skip
    add("--checkpoint", metavar="FILE",
        help="record what is finished there; after a crash the same command goes on")  # fmt: skip
    add("--resume", choices=["same", "anyway"], default="same", metavar="same|anyway",
        help="anyway: go on from a checkpoint of another pipe, handler or input")  # fmt: skip
    add("--progress", action=argparse.BooleanOptionalAction, default=None,
        help="show how far it is, on stderr; by default on a terminal")  # fmt: skip
    add("--log", choices=["text", "json"], default="text", metavar="text|json",
        help="what handlers log goes to stderr, from warnings on (text, the default), or as "
             "lines of JSON, from level info on")  # fmt: skip
    add("--watch", action="store_true",
        help="while it runs, replace the workers when a file changes that they have imported; "
             "the pipe stays as it was read")  # fmt: skip
    add("--quiet", action="store_true", help="no summary at the end")
    add("--dashboard", action="store_true",
        help="have a page, while it runs, on which one sees what flows, waits and fails; stderr "
             "says where")  # fmt: skip
    add("--dashboard-port", type=_port, metavar="PORT",
        help="have it there; else on 4040 or the next port that is free")  # fmt: skip


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"a whole number of 1 or more, not {text!r}")
    return count


def _workers(text: str) -> int | tuple[int, int]:
    least, dash, most = text.partition("-")
    if not dash:
        return _count(text)
    if not (least.isdecimal() and most.isdecimal() and 0 < int(least) <= int(most)):
        raise argparse.ArgumentTypeError(f"a number, or the least and the most, not {text!r}")
    return int(least), int(most)


def _port(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535, not {text!r}")
    return int(text)


def _encoding(text: str) -> str:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=text)
    except LookupError:
        raise argparse.ArgumentTypeError(f"no encoding of text is called {text!r}") from None
    return text


def _delimiter(text: str) -> str:
    found = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(found) != 1 or found in '"\r\n\0':
        raise argparse.ArgumentTypeError(f"one character, or tab, not {text!r}")
    return found


def _limit(text: str) -> str:
    from slither._cli.failures import limit

    try:
        limit(text)
    except ValueError:
        wrong = f"a number such as 10, or a percentage such as 2%, not {text!r}"
        raise argparse.ArgumentTypeError(wrong) from None
    return text
