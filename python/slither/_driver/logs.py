"""What BEAM and its workers say, shown where a program would look for it.

The relay calls :func:`show` for each log frame, in its thread.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import suppress

from slither._by_value import plain
from slither._wire.checks import RECORD_NAMES
from slither._wire.frames import Log

_STREAMS = {"stdout", "stderr"}
# The path of log records that do not come from a Python file.
_NOWHERE = "(beam)"
# The width of the progress bar on each stream, which the next output overwrites.
_bars: dict[str, int] = {}


def show(got: Log) -> None:
    r"""Print what workers printed, and hand what they logged to :mod:`logging`.

    A worker's line goes to the stream of the same name here; a record to the logger of the same
    name; what BEAM itself has to say to ``slither.beam``. A record has what BEAM knows of the
    worker and its call as attributes: ``pool``, ``worker``, ``batch``, ``run``, ``trace_id`` and
    others. A message that begins with ``\r`` is a state of a progress bar, which stands until the
    next line or state.

    Nothing is raised. What a stream can't encode is shown with backslashes, and what it does not
    take is dropped. Where a handler or a filter of the program's raises, its traceback is written
    to stderr unless ``logging.raiseExceptions`` is false, as :mod:`logging` does it.
    """
    try:
        if got.logger in _STREAMS:
            _print(got.logger, got.message)
        else:
            _log(got)
    except BaseException:  # noqa: BLE001 - the program's streams, handlers and filters
        if logging.raiseExceptions and got.logger not in _STREAMS:
            # There may be no stderr, or it may be stderr itself that has failed.
            with suppress(BaseException):
                traceback.print_exc()


def _log(got: Log) -> None:
    if got.logger.startswith("slither"):
        got = got._replace(message=plain(got.message))
    record = _record(got)
    logger = logging.getLogger(got.logger)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
    if got.dropped:
        logging.getLogger("slither.beam").warning("%d log lines were dropped", got.dropped)


def _record(got: Log) -> logging.LogRecord:
    """Make the record that the worker's :mod:`logging` had made, as far as it was told."""
    facts = got.facts or {}
    told = {name: facts[name] for name in RECORD_NAMES if name in facts}
    level = told.setdefault("levelno", logging.getLevelName(got.level.upper()))
    told.setdefault("levelname", logging.getLevelName(level))
    filename = os.path.basename(told.setdefault("pathname", _NOWHERE))
    place = {"filename": filename, "module": os.path.splitext(filename)[0]}
    record = logging.makeLogRecord({"name": got.logger, "msg": got.message, **place, **told})
    if "created" in told:
        # `relativeCreated` counts from the start of this program, as in its own records.
        now = logging.LogRecord("", 0, "", 0, "", (), None)
        record.msecs = float(int(record.created % 1 * 1_000))
        record.relativeCreated = now.relativeCreated + (record.created - now.created) * 1_000
    # An attribute that the worker's code has added must not replace one of logging's own, nor
    # what BEAM knows of the worker one of those.
    for added in (facts.get("extra"), facts.get("beam")):
        for name, value in (added or {}).items():
            if name not in vars(record):
                setattr(record, name, value)
    return record


def _print(name: str, message: str) -> None:
    stream = getattr(sys, name)
    if stream is None:
        return
    before = _bars.pop(name, 0)
    text = message.removeprefix("\r")
    # What is left of a longer state is blanked.
    shown = text.ljust(before)
    if text != message:
        _bars[name] = len(text)
        shown = "\r" + shown
    else:
        shown = ("\r" if before else "") + shown + "\n"
    try:
        stream.write(shown)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
