"""What BEAM and its workers say, where a program would look for it."""

from __future__ import annotations

import logging
import sys

from slither._frames import Log

_STREAMS = {"stdout", "stderr"}


def show(got: Log) -> None:
    """Print what workers printed, and hand what they logged to :mod:`logging`.

    A worker's line goes to the stream of the same name here; a record to the logger of the same
    name; what BEAM itself has to say to ``slither.beam``.
    """
    if got.logger in _STREAMS:
        stream = getattr(sys, got.logger)
        if stream is not None:
            stream.write(got.message + "\n")
            stream.flush()
        return
    level = logging.getLevelName(got.level.upper())
    logging.getLogger(got.logger).log(level, "%s", got.message)
    if got.dropped:
        logging.getLogger("slither.beam").warning("%d log lines were dropped", got.dropped)
