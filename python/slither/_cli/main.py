"""The arguments of the command, and its exit statuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from slither._version import __version__

OK, FAILED, USAGE, MISSING, INTERRUPTED = 0, 1, 2, 3, 130

_STATUSES = """exit status:
  0    all went well
  1    the run stopped, its output could not be written, or a check found something
  2    the command can't be used so: an unknown option, a file that is not there
  3    something is not installed: Erlang, or the BEAM side of Slither
  130  interrupted by Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except KeyboardInterrupt:
        sys.stderr.write("slither: interrupted\n")
        return INTERRUPTED
    return status


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    top = argparse.ArgumentParser(
        prog="slither",
        description="Pipes of Python functions, run by BEAM.",
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"slither {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _run(commands)
    _check(commands)
    _doctor(commands)
    return top


def _run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="run a pipe over a file",
        description="Run a pipe over rows of JSON lines or CSV, one file for each output.",
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = run.add_argument
    add("pipe", metavar="FILE[:NAME]", help="the file that has the pipe, and which of several")
    add("--input", default="-", metavar="FILE", help="rows to read; - (the default) is stdin")
    add("--output", metavar="DIR", help="folder for a file per output; without it, stdout")
    add("--from", dest="source", choices=["jsonl", "csv", "lines"], metavar="FORMAT",
        help="jsonl, csv or lines; by default as the input's name ends, else jsonl")  # fmt: skip
    add("--to", choices=["jsonl", "csv"], metavar="FORMAT", help="jsonl (the default) or csv")
    add("--only", action="append", metavar="OUTPUT",
        help="on stdout, give the bare values of this output")  # fmt: skip
    add("--workers", type=_count, metavar="N", help="Python processes; one per core by default")
    add("--checkpoint", metavar="FILE",
        help="record what is finished there; after a crash the same command goes on")  # fmt: skip
    add("--progress", action=argparse.BooleanOptionalAction, default=None,
        help="show how far it is, on stderr; by default on a terminal")  # fmt: skip
    add("--quiet", action="store_true", help="no summary at the end")
    run.set_defaults(command=_call("run"))


def _check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="validate a file's pipes, and draw them",
        description="Validate the pipes of a file, and draw each.",
        epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("pipe", metavar="FILE[:NAME]", help="the file, and which of its pipes")
    check.add_argument("--mermaid", action="store_true", help="draw as a Mermaid flowchart")
    check.set_defaults(command=_call("check"))


def _doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="say what is installed, what is missing, and how to get it",
        description="Say what is installed, what is missing, and how to get it.",
    )
    doctor.set_defaults(command=_call("doctor"))


def _call(name: str):  # type: ignore[no-untyped-def]
    # Each command loads what it needs, and no more.
    def command(options: argparse.Namespace) -> int:
        from importlib import import_module

        status: int = import_module(f"slither._cli.{name}").command(options)
        return status

    return command


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"a whole number of 1 or more, not {text!r}")
    return count
