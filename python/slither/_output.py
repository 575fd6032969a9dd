"""Logging, warnings, and descriptors 1 and 2, all turned into log frames."""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from slither import _state
from slither._process import flush_c

if TYPE_CHECKING:
    from slither._link import Link

_CHUNK = 65_536
_LONGEST_LINE = 65_536
# How much one flush may take before the answer of a call goes out: a flood must not delay it.
_MOST_PER_FLUSH = 1 << 20
_F_SETPIPE_SZ = 1_031


class LogHandler(logging.Handler):
    """Sends each record as a log frame."""

    def __init__(self, link: Link) -> None:
        """Take the connection."""
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Format and send one record, or have it counted as dropped."""
        if _state.link is None:
            # A forked child: the connection is its parent's, and so are the locks.
            return
        try:
            message = self.format(record)
        except Exception:  # noqa: BLE001 - the arguments' __str__ is the user's code
            self.handleError(record)
            return
        self._link.log(_state.call_id, level_name(record.levelno), record.name, message)


def level_name(number: int) -> str:
    """Name the protocol's level for a level of the logging module."""
    for floor, name in ((50, "critical"), (40, "error"), (30, "warning"), (20, "info")):
        if number >= floor:
            return name
    return "debug"


def install_logging(link: Link) -> None:
    """Send all records from ``info`` on, and warnings, to BEAM."""
    root = logging.getLogger()
    root.addHandler(LogHandler(link))
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


class Capture:
    """Reads descriptors 1 and 2 and sends each line as a log frame."""

    def __init__(self, link: Link) -> None:
        """Replace both descriptors and start the thread that drains them."""
        self._link = link
        self._lock = threading.Lock()
        self._poller = select.poll()
        self._streams: dict[int, tuple[str, str]] = {}
        self._rest: dict[int, bytes] = {}
        for target, name, level in ((1, "stdout", "info"), (2, "stderr", "warning")):
            self._replace(target, name, level)
        sys.stdout = _text(1)
        sys.stderr = _text(2)
        threading.Thread(target=self._run, name="slither-output", daemon=True).start()

    def flush(self) -> None:
        """Send what was written so far, as far as that takes no long time."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                # The handler may have closed or replaced it; then there is nothing to flush.
                continue
        flush_c()
        with self._lock:
            taken = 0
            while taken < _MOST_PER_FLUSH and (ready := self._poller.poll(0)):
                taken += sum(self._take(descriptor) for descriptor, _ in ready)
            for descriptor, rest in self._rest.items():
                self._rest[descriptor] = b""
                self._emit(descriptor, rest)

    def _replace(self, target: int, name: str, level: str) -> None:
        read, write = os.pipe()
        os.set_blocking(read, False)
        if sys.platform == "linux":
            _enlarge(write)
        # Our own copy stays open: a handler that redirects the descriptor must not end the pipe.
        os.dup2(write, target)
        self._streams[read] = (name, level)
        self._rest[read] = b""
        self._poller.register(read, select.POLLIN)

    def _run(self) -> None:
        # A poller of its own: one poll object must not be used by two threads at once.
        poller = select.poll()
        for descriptor in self._streams:
            poller.register(descriptor, select.POLLIN)
        while True:
            ready = poller.poll()
            with self._lock:
                for descriptor, _ in ready:
                    self._take(descriptor)

    def _take(self, descriptor: int) -> int:
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            # The other thread was here first.
            return 0
        lines = (self._rest[descriptor] + chunk).split(b"\n")
        rest = lines.pop()
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._rest[descriptor] = rest
        for line in lines:
            self._emit(descriptor, line)
        return len(chunk)

    def _emit(self, descriptor: int, line: bytes) -> None:
        if line:
            name, level = self._streams[descriptor]
            self._link.log(_state.call_id, level, name, line.decode("utf-8", "replace"))


def _enlarge(pipe: int) -> None:
    import fcntl

    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _MOST_PER_FLUSH)
    except OSError:
        # Over the user's quota: the usual 64 KiB do.
        return


def _text(descriptor: int) -> TextIO:
    # New objects, not the old ones set up anew: those believe that they can seek where the
    # descriptor was a file before.
    return open(
        descriptor,
        "w",
        buffering=1,
        encoding="utf-8",
        errors="backslashreplace",
        closefd=False,
    )
