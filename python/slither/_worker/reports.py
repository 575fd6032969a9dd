"""What a worker tells BEAM of itself: log records, progress, and that it holds state of a run.

Any thread runs this, also a finaliser that the garbage collector runs in the middle of anything.
Log and progress frames cost credit, which BEAM gives; what there is no credit for is counted.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from slither._errors import ProtocolError
from slither._io.port import Port
from slither._types import Payload
from slither._wire import frames
from slither._wire.build import frame
from slither._wire.checks import LEVELS
from slither._wire.faults import clean
from slither._worker import signals
from slither._worker.reading import Reader

# Least seconds between two looks for credit while there is none, so that a flood of lines does
# not cause a read for each line.
_LOOK_EVERY = 0.1

LEAST = {**LEVELS, "none": 60}
"""The least level that a worker sends, by its name in the settings."""


class Reports:
    """The credit, and the frames that cost it."""

    def __init__(self, port: Port, reader: Reader) -> None:
        self._port = port
        self._reader = reader
        # Reentrant, as the garbage collector may run a
        # finaliser under this lock, and that may log.
        self._lock = threading.RLock()
        self._credits = 0
        self._dropped = 0
        self._dropped_call = 0
        self._next_look = 0.0
        self.level = LEVELS["debug"]
        """The least level of logs that are sent."""

    def add_credit(self, count: int) -> None:
        """Allow ``count`` more log and progress frames."""
        with self._lock:
            self._credits += count

    @signals.whole
    def log(
        self,
        call: int,
        level: str,
        logger: str,
        message: str,
        facts: dict[str, Payload] | None = None,
    ) -> None:
        """Send a log frame, or count it as dropped."""
        if LEVELS[level] < self.level or not self._pay(call):
            return
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        name, text = clean(logger, 255), clean(message)
        self._send(frame(frames.LOG, call, level, name, text, dropped, facts))

    def tell_dropped(self, without_credit: bool = False) -> None:
        """Tell how much was dropped since that was last told, if there is credit to."""
        with self._lock:
            if self._dropped == 0 or not (self._credits or without_credit):
                return
            self._credits = max(0, self._credits - 1)
            dropped, self._dropped = self._dropped, 0
        call = self._dropped_call
        self._send(frame(frames.LOG, call, "warning", "slither", "", dropped, None))

    @signals.whole
    def progress(self, call: int, done: int, total: int | None) -> None:
        """Send a progress frame, or count it as dropped."""
        if self._pay(call):
            self._send(frame(frames.PROGRESS, call, done, total))

    @signals.whole
    def hold(self, call: int, run: str) -> None:
        """Tell that this worker holds state of a run, which costs no credit."""
        self._send(frame(frames.SESSION, call, run))

    def _pay(self, call: int) -> bool:
        # In the middle of writing a frame, this thread would
        # wait for ever for itself if it wrote another.
        free = not self._port.is_written_here
        if free and self._credits < 1:
            self._look_for_credit()
        with self._lock:
            if free and self._credits > 0:
                self._credits -= 1
                return True
            self._dropped += 1
            self._dropped_call = call
            return False

    def _look_for_credit(self) -> None:
        # While a handler works, it may be that no thread reads, so credit is looked for here.
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY
        with suppress(OSError, ProtocolError):
            self._reader.read_what_is_there(lambda: self._credits > 0)

    def _send(self, body: bytes) -> None:
        # The main loop notices by itself when BEAM is gone.
        with suppress(OSError, ProtocolError):
            self._port.write(body)
