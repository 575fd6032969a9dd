"""The text of an input that may pause: a pipe, a terminal, a socket.

The main thread of ``slither run`` reads it; the thread that reads from BEAM calls ``wake``.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import socket
from collections import deque
from types import TracebackType

from slither._cli.reading import MARKS, ZIPPED, Paused

_CHUNK = 1 << 16


class Live:
    """Gives lines as they come, and raises :class:`Paused` where there is none now."""

    def __init__(self, file: io.BufferedReader, encoding: str) -> None:
        """Take a file that nobody else reads any more, and of which nothing is buffered."""
        self._file = file
        decoder = codecs.getincrementaldecoder(encoding)(MARKS)
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=False)
        self._lines: deque[str] = deque()
        # The line that has no end yet.
        self._parts: list[str] = []
        self._length = 0
        self._ended = False
        # Whether whoever reads knows that there is none now.
        self._told = False
        # A socket that is closed has no number, so that none is ever written to by mistake.
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._woken.close()
        self._waker.close()

    def wake(self) -> None:
        """End the wait for a line; from any thread."""
        # Where it is full, or closed, nobody needs it.
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def readline(self, limit: int, /) -> str:
        """Return a line, or so much of it, and nothing at the end.

        Raises :class:`Paused` where there is none now. Called again, it waits until there may be
        one, or until :meth:`wake`, and raises it once more.
        """
        while not self._lines:
            if self._ended:
                return ""
            if self._length >= limit:
                self._lines.append(self._partial())
            elif select.select([self._file], [], [], 0)[0]:
                self._told = False
                self._read()
            else:
                if self._told:
                    self._wait()
                self._told = True
                raise Paused
        return self._lines.popleft()[:limit]

    def _wait(self) -> None:
        woken = self._woken.fileno()
        if woken in select.select([self._file.fileno(), woken], [], [])[0]:
            self._woken.recv(_CHUNK)

    def _read(self) -> None:
        try:
            data = os.read(self._file.fileno(), _CHUNK)
        except BlockingIOError:
            return
        self.take(data)

    def take(self, data: bytes) -> None:
        """Take in what was read; nothing says that it has ended."""
        self._ended = not data
        text = self._decoder.decode(data, final=not data)
        # It splits at a line feed, a carriage return or both, and nowhere else.
        lines = io.StringIO(text, newline="").readlines()
        rest = lines.pop() if lines and lines[-1][-1] not in "\r\n" else ""
        if lines and self._parts:
            lines[0] = self._partial() + lines[0]
        self._lines.extend(lines)
        if rest:
            self._parts.append(rest)
            self._length += len(rest)
        if self._ended and self._parts:
            self._lines.append(self._partial())

    def _partial(self) -> str:
        parts, self._parts, self._length = self._parts, [], 0
        return "".join(parts)


def opened(file: io.BufferedReader, encoding: str) -> Live | None:
    """Return the text of an input, once it has begun; None where it is gzipped."""
    first = file.peek(2)
    if first[:2] == ZIPPED:
        return None
    live = Live(file, encoding)
    # Nothing is the end of it, unless it is one that never waits.
    if first or os.get_blocking(file.fileno()):
        live.take(file.read1(len(first)))
    return live
