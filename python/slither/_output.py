"""Logging, warnings, and descriptors 1 and 2, all turned into log frames."""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from slither import _state
from slither._process import aside, flush_c

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
        call = _state.current_call()
        self._link.log(call, level_name(record.levelno), record.name, message)


def level_name(number: int) -> str:
    """Name the protocol's level for a level of the logging module."""
    for floor, name in ((50, "critical"), (40, "error"), (30, "warning"), (20, "info")):
        if number >= floor:
            return name
    return "debug"


def install_logging(link: Link) -> None:
    """Send all records from the link's level on, and warnings, to BEAM."""
    handler = LogHandler(link)
    handler.setLevel(link.log_level)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(link.log_level)
    logging.captureWarnings(True)


def install_hooks() -> None:
    """Log exceptions that nobody catches, those of threads and those that can't be raised."""
    threading.excepthook = _thread_failed
    sys.unraisablehook = _not_raised


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if _state.link is None:
        threading.__excepthook__(args)
    elif not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread is not None else "that has ended"
        _log("threading", f"uncaught exception in thread {name}", args)


def _not_raised(args: sys.UnraisableHookArgs) -> None:
    if _state.link is None:
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
    # The text as an argument: it may have a percent sign.
    exc_info = (args.exc_type, error, args.exc_traceback)
    logging.getLogger(logger).error("%s", message, exc_info=exc_info)


class Capture:
    """Reads descriptors 1 and 2 and sends each line as a log frame."""

    def __init__(self, link: Link, words: str | None = None) -> None:
        """Replace both descriptors and start the thread that drains them.

        ``words`` is where the pipe of descriptor 2 gets a name, by which BEAM takes hold of it.
        """
        self._link = link
        self._lock = threading.Lock()
        self._poller = select.poll()
        self._streams: dict[int, tuple[str, str]] = {}
        self._rest: dict[int, bytes] = {}
        self._replace(1, "stdout", "info", None)
        self._replace(2, "stderr", "warning", words)
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

    def _replace(self, target: int, name: str, level: str, path: str | None) -> None:
        ends = os.pipe() if path is None else _named_pipe(path)
        read, write = map(aside, ends)
        for end in ends:
            os.close(end)
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


def _named_pipe(path: str) -> tuple[int, int]:
    os.mkfifo(path, 0o600)
    read = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return read, os.open(path, os.O_WRONLY)


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
