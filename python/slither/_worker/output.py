"""Logging, warnings, and descriptors 1 and 2, all turned into log frames.

Whatever thread logs runs the handler; the thread ``slither-output`` reads what is printed, and
the main thread, before it answers a call.
"""

from __future__ import annotations

import logging
import math
import os
import select
import sys
import threading
import time
from typing import TextIO

from slither._io.port import widen
from slither._wire.checks import LEVELS
from slither._worker import bars, current
from slither._worker.process import aside, flush_c
from slither._worker.records import facts_of
from slither._worker.reports import Reports

_CHUNK = 65_536
_LONGEST_LINE = 65_536
LAST = 4_096
"""Bytes of what was sent last of descriptor 2, which BEAM has when the worker is dead."""
ROOM = LAST + _LONGEST_LINE + _CHUNK
"""Bytes of memory that this takes, with what is read and not yet sent."""
# Most bytes that a flush reads before a call's answer
# goes out, so that no flood delays the answer.
_MOST_PER_FLUSH = 1 << 20


least: int | None = None
"""The least level that goes to BEAM; None where nothing does."""
_handler: LogHandler | None = None


class LogHandler(logging.Handler):
    """Sends each record as a log frame."""

    def __init__(self, reports: Reports) -> None:
        super().__init__()
        self.reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        """Format and send one record, or have it counted as dropped."""
        if current.link is None:
            # This is a forked child, whose parent owns the connection and its locks.
            return
        try:
            # format() sets the record's message and the text of its exception.
            self.format(record)
            facts = facts_of(record)
        except Exception:  # noqa: BLE001 - the arguments' __str__ is the user's code
            self.handleError(record)
            return
        call = current.call_id()
        self.reports.log(call, level_name(record.levelno), record.name, record.message, facts)


def level_name(number: int) -> str:
    """Name the protocol's level for a level of the logging module."""
    return next((name for name, least in reversed(LEVELS.items()) if number >= least), "debug")


def install_logging(reports: Reports) -> None:
    """Send all records from the reports' level on, and warnings, to BEAM."""
    global least, _handler
    least = reports.level
    if _handler is not None:
        # This process was forked: what its template has imported may have put it anywhere.
        _handler.reports = reports
        return
    _handler = LogHandler(reports)
    _handler.setLevel(least)
    root = logging.getLogger()
    root.addHandler(_handler)
    root.setLevel(least)
    logging.captureWarnings(True)


def install_hooks() -> None:
    """Log exceptions that nobody catches, those of threads and those that can't be raised."""
    threading.excepthook = _thread_failed
    sys.unraisablehook = _not_raised


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if current.link is None:
        threading.__excepthook__(args)
    elif not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread is not None else "that has ended"
        _log("threading", f"uncaught exception in thread {name}", args)


def _not_raised(args: sys.UnraisableHookArgs) -> None:
    if current.link is None:
        sys.__unraisablehook__(args)
        return
    try:
        whose = repr(args.object)
    except Exception:  # noqa: BLE001 - the user's code, in an object that may be half gone
        whose = f"a {type(args.object).__name__}"
    _log("unraisable", f"{args.err_msg or 'Exception ignored in'}: {whose}", args)


def _log(
    logger: str, message: str, args: threading.ExceptHookArgs | sys.UnraisableHookArgs
) -> None:
    error = args.exc_value if args.exc_value is not None else args.exc_type()
    # The message is an argument, as it may contain a percent sign.
    exc_info = (args.exc_type, error, args.exc_traceback)
    logging.getLogger(logger).error("%s", message, exc_info=exc_info)


class _Stream:
    """What a descriptor writes, as it is read and not yet sent, and the last that was sent.

    ``memory`` holds both: BEAM has what it holds of a dead worker's. Bytes that are read stand
    there at once, as the thread that reads may get no other turn.
    """

    def __init__(self, name: str, level: str, memory: memoryview) -> None:
        self.name = name
        self.level = level
        self.sent = memory[:LAST]
        self.read = memory[LAST:ROOM]
        self.held = 0
        self._last = b""
        self.bar = bars.Bar()

    def take(self, descriptor: int) -> tuple[int, list[bytes]]:
        """Read some; how much, and the lines that are whole or too long to wait for."""
        size = os.readv(descriptor, [self.read[self.held : self.held + _CHUNK]])
        lines = bytes(self.read[: self.held + size]).split(b"\n")
        self.held += size
        if len(lines[-1]) <= _LONGEST_LINE:
            lines.pop()
        return size, lines

    def done(self, lines: list[bytes]) -> None:
        """Let go of lines that were sent: they are the last now."""
        told = b"".join(line + b"\n" for line in lines)
        self._last = (self._last + told)[-LAST:]
        self.sent[: len(self._last)] = self._last
        left = bytes(self.read[min(len(told), self.held) : self.held])
        self.read[: self.held] = left + bytes(self.held - len(left))
        self.held = len(left)

    def state(self) -> bytes | None:
        """Return the state of a progress bar that is to be shown now; those before it go."""
        if not self.held:
            return None
        state, kept = self.bar.look(bytes(self.read[: self.held]), time.monotonic())
        if len(kept) < self.held:
            self.read[: self.held] = kept + bytes(self.held - len(kept))
            self.held = len(kept)
        return state

    def forget(self) -> None:
        """Begin anew: the last that was sent was of another call."""
        if self._last:
            self._last = b""
            self.sent[:] = bytes(LAST)


class Capture:
    """Reads descriptors 1 and 2 and sends each line as a log frame."""

    def __init__(
        self, reports: Reports, memory: memoryview | None = None, streams: bool = True
    ) -> None:
        """Replace both descriptors and start the thread that drains them.

        ``memory`` is where what comes from descriptor 2 is kept, ``ROOM`` bytes of zeros. Without
        ``streams``, ``sys.stdout`` and ``sys.stderr`` stay: they write to these descriptors.
        """
        self._reports = reports
        self._lock = threading.Lock()
        self._poller = select.poll()
        self._streams: dict[int, _Stream] = {}
        self._ends: list[int] = []
        own = memoryview(bytearray(ROOM))
        self._replace(1, _Stream("stdout", "info", own))
        self._stderr = _Stream("stderr", "warning", memory or memoryview(bytearray(ROOM)))
        self.pipe = self._replace(2, self._stderr)
        """What descriptor 2 writes to; BEAM takes hold of it."""
        if streams:
            sys.stdout = _text(1)
            sys.stderr = _text(2)
        self._thread = threading.Thread(target=self._run, name="slither-output", daemon=True)
        self._ending = os.pipe()
        self._thread.start()

    @property
    def descriptors(self) -> list[int]:
        """Those to read from, for who waits for them: :meth:`flush` reads them."""
        return list(self._streams)

    @property
    def thread(self) -> int:
        """The number of the thread that reads them."""
        return self._thread.native_id or 0

    def end_thread(self) -> None:
        """Have no thread drain the descriptors any more."""
        os.close(self._ending[1])
        self._thread.join()
        os.close(self._ending[0])

    def leave(self) -> None:
        """Close what this process, which was forked, has of its template's; see `end_thread`."""
        for descriptor in (*self._streams, *self._ends):
            os.close(descriptor)

    def flush(self) -> None:
        """Send what was written so far, as far as that takes no long time."""
        flush_streams()
        with self._lock:
            taken = 0
            while taken < _MOST_PER_FLUSH and (ready := self._poller.poll(0)):
                taken += sum(self._take(descriptor) for descriptor, _ in ready)
            for stream in self._streams.values():
                if stream.held:
                    self._send(stream, [bytes(stream.read[: stream.held])])

    def begin(self) -> None:
        """Begin a call: what was written to descriptor 2 before is no word of its."""
        self._stderr.forget()

    def _replace(self, target: int, stream: _Stream) -> int:
        ends = os.pipe()
        read, write = map(aside, ends)
        for end in ends:
            os.close(end)
        os.set_blocking(read, False)
        widen(write, _MOST_PER_FLUSH)
        # The worker keeps a copy of the writing end, so that a handler that redirects the
        # descriptor does not end the pipe.
        os.dup2(write, target)
        self._ends.append(write)
        self._streams[read] = stream
        self._poller.register(read, select.POLLIN)
        return read

    def _run(self) -> None:
        # This thread has a poller of its own: two threads must not use one at once.
        poller = select.poll()
        for descriptor in self._streams:
            poller.register(descriptor, select.POLLIN)
        poller.register(self._ending[0], select.POLLIN)
        while True:
            ready = poller.poll(self._pause())
            with self._lock:
                for descriptor, _ in ready:
                    if descriptor == self._ending[0]:
                        return
                    self._take(descriptor)
                for stream in self._streams.values():
                    self._show(stream)

    def _pause(self) -> int | None:
        # Milliseconds until the next state of a progress bar is due; None without one.
        due = [stream.bar.due for stream in self._streams.values() if stream.bar.due is not None]
        return max(0, math.ceil(1_000 * (min(due) - time.monotonic()))) if due else None

    def _take(self, descriptor: int) -> int:
        stream = self._streams[descriptor]
        try:
            size, lines = stream.take(descriptor)
        except BlockingIOError:
            # The main thread or the output thread has read first, and left nothing.
            return 0
        if lines:
            self._send(stream, lines)
        return size

    def _send(self, stream: _Stream, lines: list[bytes]) -> None:
        for line in lines:
            if seen := bars.line(line):
                text = seen.decode("utf-8", "replace")
                self._reports.log(current.running_id(), stream.level, stream.name, text)
        stream.done(lines)
        stream.bar.end()

    def _show(self, stream: _Stream) -> None:
        if (state := stream.state()) is not None:
            text = "\r" + state.decode("utf-8", "replace")
            self._reports.log(current.running_id(), stream.level, stream.name, text)


def flush_streams() -> None:
    """Write what Python and C keep in buffers of what was printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            # The handler may have closed or replaced the stream, which then needs no flush.
            continue
    flush_c()


def _text(descriptor: int) -> TextIO:
    # Made anew rather than reconfigured: the old objects think that they can seek if the
    # descriptor was a file.
    return open(
        descriptor,
        "w",
        buffering=1,
        encoding="utf-8",
        errors="backslashreplace",
        closefd=False,
    )
