"""Length-prefixed messages on a pair of descriptors: :class:`slither.erlport.Port`.

A worker's threads take turns to read one (:mod:`slither._worker.reading`); any thread writes. The
main thread widens the pipes that capture output, too.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import threading
from collections.abc import Callable

from slither._errors import ProtocolError
from slither._version import MAX_FRAME

# Bytes that a pipe holds by default, and the most that an unprivileged process may ask for, on
# a system with the usual settings.
_USUAL, _MOST = 65_536, 1 << 20
_READ_AHEAD = 65_536
_LOOKS = 150
_yield: Callable[[], None] = getattr(os, "sched_yield", lambda: None)
_SHORT = 4_096
_HEADERS = {1: struct.Struct(">B"), 2: struct.Struct(">H"), 4: struct.Struct(">I")}


class Port:
    """One side of an Erlang port opened with ``{:packet, n}``.

    Arguments: ``packet``, the bytes of a length, 1, 2 or 4; ``use_stdio``, descriptors 0 and 1
    in place of 3 and 4; ``compressed`` is not supported; ``descriptors``, a pair (read, write)
    in place of both; ``max_frame``, the longest message in bytes.

    One thread may read, or ask whether there is something to read, at a time; any number may
    write.

    >>> import os
    >>> read, write = os.pipe()
    >>> port = Port(descriptors=(read, write))
    >>> port.write(b"hello")
    5
    >>> port.read()
    b'hello'
    >>> port.close()
    """

    def __init__(
        self,
        packet: int = 4,
        use_stdio: bool = False,
        compressed: bool = False,
        descriptors: tuple[int, int] | None = None,
        max_frame: int = MAX_FRAME,
    ) -> None:
        """Take the descriptors; nothing is read or written yet."""
        if packet not in _HEADERS:
            raise ValueError(f"packet must be 1, 2 or 4, not {packet!r}")
        if compressed:
            raise ValueError("compressed terms are not supported; messages are plain bytes")
        self._header = _HEADERS[packet]
        self._in, self._out = descriptors or ((0, 1) if use_stdio else (3, 4))
        self._widths = {self._in: _USUAL, self._out: _USUAL}
        self.max_frame = max_frame
        self._longest = 256**packet - 1
        self._poller = select.poll()
        self._poller.register(self._in, select.POLLIN)
        self._buffer = b""
        self._at = 0
        self._lock = threading.Lock()
        self._writer = 0
        self._closed = False
        self._torn = False
        self.fills = 0
        """How often the system was asked for short messages."""

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def fileno(self) -> int:
        """Return the descriptor that is read, for who waits for several."""
        return self._in

    @property
    def is_written_here(self) -> bool:
        """Whether the thread that asks is in the middle of :meth:`write`."""
        return self._writer == threading.get_ident()

    def read(self) -> bytes:
        """Return the next message.

        Raises EOFError at the end, and :class:`slither.ProtocolError` for a length of 0 or over
        ``max_frame``; such a message is skipped, so that the next one can be read.
        """
        return bytes(self.read_body())

    def read_body(self) -> bytes | bytearray:
        """Return the next message as :meth:`read` does, a long one without its last copy."""
        head = self._header.size
        while len(self._buffer) - self._at < head:
            self._fill()
        (size,) = self._header.unpack_from(self._buffer, self._at)
        at = self._at = self._at + head
        if not 0 < size <= self.max_frame:
            self._refuse(size)
        end = at + size
        if end > len(self._buffer):
            if size > _READ_AHEAD:
                return self._read_long(size)
            while self._at + size > len(self._buffer):
                self._fill()
            at, end = self._at, self._at + size
        self._at = end
        return self._buffer[at:end]

    def _refuse(self, size: int) -> None:
        if size == 0:
            raise ProtocolError("a frame of length 0")
        self._skip(size)
        raise ProtocolError(f"a frame of {size} bytes is over the limit of {self.max_frame}")

    def has_input(self) -> bool:
        """Tell, without waiting, whether a read would find bytes or the end."""
        return len(self._buffer) > self._at or bool(self._poller.poll(0))

    def has_message(self, longest: int, look: bool = True) -> bool:
        """Tell, without waiting, whether the next message is there and as short as ``longest``.

        Without ``look`` it asks the system for nothing: only what was read with the messages
        before is there. As :meth:`has_input`, for one thread at a time.
        """
        head = self._header.size
        have = len(self._buffer) - self._at
        if look and have < head + longest and self._poller.poll(0):
            try:
                self._fill()
            except EOFError:
                # Whoever reads next finds the end, too.
                return False
            have = len(self._buffer) - self._at
        if have < head:
            return False
        (size,) = self._header.unpack_from(self._buffer, self._at)
        return bool(size <= longest and have >= head + size)

    def wait_for_input(self) -> None:
        """Wait until a read would find bytes or the end; nothing is taken."""
        if not self.has_input():
            self._poller.poll()

    def look_for_input(self) -> bool:
        """Look for bytes for some 150 µs, without sleeping; other threads may run meanwhile."""
        if self.has_input():
            return True
        poll = self._poller.poll
        for _ in range(_LOOKS):
            _yield()
            if poll(0):
                return True
        return False

    def write(self, *message: bytes | memoryview) -> int:
        """Send one message, given whole or in pieces, and return its length in bytes.

        Safe from any thread. Raises :class:`slither.ProtocolError` for an empty message or one
        over the limit, and OSError when the other side is gone.
        """
        size = len(message[0]) if len(message) == 1 else sum(map(len, message))
        self._write(size, (self._headed(size), *message))
        return size

    def write_two(self, first: bytes, *message: bytes | memoryview) -> None:
        """Send two messages at once, the second one given as to :meth:`write`, or neither."""
        size = sum(map(len, message))
        pieces = (self._headed(len(first)), first, self._headed(size), *message)
        self._write(len(first) + size, pieces)

    def _headed(self, size: int) -> bytes:
        if not 0 < size <= self.max_frame or size > self._longest:
            limit = min(self.max_frame, self._longest)
            raise ProtocolError(f"a message of {size} bytes; the limits are 1 and {limit}")
        return self._header.pack(size)

    def _write(self, size: int, pieces: tuple[bytes | memoryview, ...]) -> None:
        with self._lock:
            if self._closed or self._torn:
                raise BrokenPipeError("the port is closed")
            self._writer = threading.get_ident()
            # An exception in the middle leaves half a
            # frame on the pipe: nothing may follow that.
            self._torn = True
            # For a few bytes a copy costs less than writev().
            if size <= _SHORT:
                self._send(b"".join(pieces))
            else:
                if size > self._widths[self._out]:
                    self._widen(self._out, size)
                self._send_pieces(list(pieces))
            self._torn = False
            self._writer = 0

    def close(self) -> None:
        """Close both descriptors; a second call does nothing."""
        if not self._closed:
            self._closed = True
            os.close(self._in)
            if self._out != self._in:
                os.close(self._out)

    def _fill(self) -> None:
        chunk = self._read_some()
        self.fills += 1
        left = len(self._buffer) - self._at
        self._buffer = self._buffer[self._at :] + chunk if left else chunk
        self._at = 0

    def _read_some(self) -> bytes:
        while not self._closed:
            try:
                chunk = os.read(self._in, _READ_AHEAD)
            except BlockingIOError:
                _wait(self._in, select.POLLIN)
                continue
            if not chunk:
                raise EOFError("the other side closed the port")
            return chunk
        raise EOFError("the port is closed")

    def _read_long(self, size: int) -> bytearray:
        if size > self._widths[self._in]:
            self._widen(self._in, size)
        body = bytearray(size)
        view = memoryview(body)
        have = len(self._buffer) - self._at
        view[:have] = memoryview(self._buffer)[self._at :]
        self._buffer, self._at = b"", 0
        while have < size:
            try:
                count = os.readv(self._in, [view[have:]])
            except BlockingIOError:
                _wait(self._in, select.POLLIN)
                continue
            if count == 0:
                raise EOFError("the other side closed the port within a frame")
            have += count
        return body

    def _widen(self, descriptor: int, size: int) -> None:
        width = 1 << (size - 1).bit_length()
        # If the system refused once, don't ask again.
        wide = widen(descriptor, width) and width < _MOST
        self._widths[descriptor] = width if wide else self._longest

    def _skip(self, size: int) -> None:
        while size > len(self._buffer) - self._at:
            size -= len(self._buffer) - self._at
            self._buffer, self._at = self._read_some(), 0
        self._at += size

    def _send(self, data: bytes | memoryview) -> None:
        while True:
            try:
                count = os.write(self._out, data)
            except BlockingIOError:
                _wait(self._out, select.POLLOUT)
                continue
            if count == len(data):
                return
            data = memoryview(data)[count:]

    def _send_pieces(self, pieces: list[bytes | memoryview]) -> None:
        while pieces:
            try:
                count = os.writev(self._out, pieces)
            except BlockingIOError:
                _wait(self._out, select.POLLOUT)
                continue
            while pieces and count >= len(pieces[0]):
                count -= len(pieces.pop(0))
            if count:
                pieces[0] = memoryview(pieces[0])[count:]


def widen(pipe: int, size: int) -> bool:
    """Have a pipe hold ``size`` bytes, as many as anybody may at most; tell whether it does.

    Who writes and who reads a long message wake one another each time that the pipe is full and
    empty: one that holds the whole message spares them that. It does not, and nothing is lost,
    where the system has no such thing, or the user's share of it is used up.
    """
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, min(size, _MOST))
    except OSError:
        return False
    return True


def _wait(descriptor: int, event: int) -> None:
    poller = select.poll()
    poller.register(descriptor, event)
    poller.poll()
