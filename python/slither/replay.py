"""Run a batch that failed once more, in a plain Python process.

With the option ``capture_failures`` of a pool or a dispatch, BEAM writes batches that fail to
files. ``python -m slither.replay FILE`` runs the handler on the same items, with the answers that
views and tables gave it then, and exits with 0 if it succeeds now, 1 if it fails again, and 2
where the file can't be read. ``--pdb`` opens the debugger where the exception was raised.

The handler's module is imported from where the worker had it; where that is not there, from this
process's own ``sys.path``. Preload modules are imported, ``@on_start`` hooks and the initializer
run. Environment variables are not recorded, and a session or run begins with no state.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import os
import sys
import traceback
from pathlib import Path

from slither._testing.recording import Recording, RecordingError, Replayer, read
from slither._types import Payload
from slither._version import MAX_FRAME
from slither._wire import frames
from slither._worker import current, errors_out, execute, targets

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status; ``arguments`` are the command line's."""
    options = _parser().parse_args(arguments)
    try:
        recording = read(Path(options.file))
    except RecordingError as error:
        print(f"slither.replay: {error}", file=sys.stderr)
        return 2
    faulthandler.enable()
    _show_at_once()
    _introduce(recording)
    seen: list[BaseException] = []
    errors_out.observe = seen.append
    try:
        failed = _run(recording)
    finally:
        errors_out.observe = None
    print("now       it succeeds" if not failed else "now       it fails")
    for text in failed:
        print(text.rstrip())
    if options.pdb and failed:
        _debug(seen)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m slither.replay",
        description="Run a batch that failed once more: 0 it succeeds now, 1 it fails again, "
        "2 the file can't be read.",
    )
    parser.add_argument("file", help="a file that capture_failures has written")
    parser.add_argument("--pdb", action="store_true", help="open the debugger where it fails")
    return parser


def _show_at_once() -> None:
    # The batch may end this process before a buffer is written.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def _introduce(recording: Recording) -> None:
    facts, call = recording.facts, recording.call
    hello = facts.get("hello") or {}
    print(
        f"captured  {facts.get('time')}, pool {facts.get('pool')}, worker {facts.get('worker')}"
    )
    print(f"          Python {hello.get('python')}, slither {hello.get('slither')}")
    print(f"handler   {'.'.join(call.target[1:])}, {len(call.items)} items, batch {call.batch}")
    print(f"          attempt {call.attempt}, {len(recording.exchanges)} recorded answers")
    if call.context.get("session") is not None:
        print("          the state of its session is not recorded: it begins with none")
    told = [facts["error"]] if facts.get("error") else list((facts.get("errors") or {}).values())
    for error in told[:1]:
        print(f"then      {error.get('kind')}: {error.get('message')}")
    if len(told) > 1:
        print(f"          and {len(told) - 1} more items")


def _run(recording: Recording) -> list[str]:
    """Run the batch; what failed, in words."""
    call = recording.call
    current.main = recording.facts.get("main")
    current.link = Replayer(recording)
    try:
        current.follow_threads()
        _place(recording.facts)
        facts = recording.facts
        targets.load_first(facts.get("preload") or [], facts.get("initializer"))
        current.sealed.add(call.id)
        with current.entered(call):
            answer = execute.answer(call, 0, MAX_FRAME)
    except targets.TargetError as error:
        return [_told(error.error)]
    except BaseException as error:  # noqa: BLE001 - a preload module is the user's code
        errors_out.exception_error(error)
        return ["".join(traceback.format_exception(error))]
    finally:
        current.link = None
    got = frames.parse(b"".join(answer))
    if isinstance(got, frames.Error):
        return [_told(got.error)]
    assert isinstance(got, frames.Result)
    return [
        f"item {index}: {_told(error)}"
        for index, error in (got.errors or {}).items()
        # A handler returns a Failure on purpose: the replay has not failed.
        if error["kind"] != "failure"
    ]


def _told(error: dict[str, Payload]) -> str:
    return str(error.get("traceback") or f"{error['kind']}: {error['message']}")


def _place(facts: dict[str, Payload]) -> None:
    folder = facts.get("folder") or ""
    if os.path.isdir(folder):
        os.chdir(folder)
    recorded = [entry or folder for entry in facts.get("path") or []]
    there = [entry for entry in recorded if os.path.exists(entry)]
    sys.path[:] = [*there, *(entry for entry in sys.path if entry not in there)]


def _debug(seen: list[BaseException]) -> None:
    import pdb

    if not seen:
        print("there is no exception to debug: the handler did not raise one")
        return
    # The first that was told of is where it began.
    pdb.post_mortem(seen[0].__traceback__)


if __name__ == "__main__":
    sys.exit(main())
