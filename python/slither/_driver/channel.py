"""Frames over a socket, or a pair of pipes, of which an interruption takes nothing.

A KeyboardInterrupt may come between any two steps of the main thread. Here it comes only while
nothing is half done: it waits while bytes are moved and frames are handed on, and what a full
pipe did not take is kept and goes first with the next frame.
"""

from __future__ import annotations

# What the module signal is made of: that one turns each answer into an enum, which takes fifteen
# times as long, three times for every frame.
import _signal
import os
import select
import struct
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType

from slither._errors import ProtocolError
from slither._version import MAX_FRAME

# Above this, memory for what is read comes from the system each time.
_CHUNK = 65_536
_HEADER = struct.Struct(">I")
_MOST_PIECES = 64


class Channel:
    """One end of a stream of frames, each with its length in 4 bytes before it.

    One thread may read at a time; any number may write.
    """

    def __init__(self, read: int, write: int) -> None:
        """Take the descriptors, which are made non-blocking."""
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self._in, self._out = read, write
        self._lock = threading.Lock()
        self._pending: deque[memoryview] = deque()
        self._buffer = bytearray()
        self._at = 0
        self._closed = False
        # One for reads alone: one poll object must not be used by two threads at once.
        self._readable = select.poll()
        self._readable.register(read, select.POLLIN)

    def write(self, *pieces: bytes | memoryview) -> None:
        """Send one frame, given in pieces; OSError when the other end is gone."""
        size = sum(map(len, pieces))
        if not 0 < size <= MAX_FRAME:
            raise ProtocolError(f"a frame of {size} bytes; the limits are 1 and {MAX_FRAME}")
        frame = (_HEADER.pack(size), *pieces)
        with self._lock:
            with Uninterrupted():
                if self._closed:
                    raise BrokenPipeError("the channel is closed")
                if self._pending or not self._sent(frame, _HEADER.size + size):
                    self._pending.extend(map(memoryview, frame))
                    self._push()
            while self._pending:
                self._await_room()
                with Uninterrupted():
                    self._push()

    def read(self, handle: Callable[[bytes], None], timeout: float | None = None) -> bool:
        """Wait for the next frame and hand its body on, and those of all that came with it.

        An interruption waits for the handler.

        Return False when none has come within ``timeout`` seconds. Raises EOFError at the end.
        """
        milliseconds = None if timeout is None else max(0, int(timeout * 1_000))
        while not self._hand_on(handle):
            if not self._readable.poll(milliseconds):
                return False
            with Uninterrupted():
                self._fill()
        return True

    def close(self) -> None:
        """Close both descriptors; a second call does nothing."""
        with self._lock:
            self.forget()

    def forget(self) -> None:
        """Close without a lock: for a forked child, whose other threads are gone."""
        if not self._closed:
            self._closed = True
            os.close(self._in)
            if self._out != self._in:
                os.close(self._out)

    def _await_room(self) -> None:
        poller = select.poll()
        poller.register(self._out, select.POLLOUT)
        poller.poll()

    def _sent(self, frame: tuple[bytes | memoryview, ...], size: int) -> bool:
        """Write a frame, as mostly it goes at once; what does not is pending."""
        try:
            count = os.writev(self._out, frame)
        except BlockingIOError:
            return False
        if count < size:
            self._pending.extend(map(memoryview, frame))
            self._drop(count)
        return True

    def _push(self) -> None:
        while self._pending:
            pieces = [self._pending[i] for i in range(min(_MOST_PIECES, len(self._pending)))]
            try:
                count = os.writev(self._out, pieces)
            except BlockingIOError:
                return
            self._drop(count)

    def _drop(self, count: int) -> None:
        while self._pending and count >= len(self._pending[0]):
            count -= len(self._pending.popleft())
        if count:
            self._pending[0] = self._pending[0][count:]

    def _hand_on(self, handle: Callable[[bytes], None]) -> bool:
        end = self._next_end()
        if end == 0:
            return False
        with Uninterrupted() as held:
            while end and not held.wanted:
                body = bytes(memoryview(self._buffer)[self._at + _HEADER.size : end])
                self._at = end
                if end == len(self._buffer):
                    self._buffer = bytearray()
                    self._at = 0
                handle(body)
                end = self._next_end()
        return True

    def _next_end(self) -> int:
        """Return where the next frame ends in the buffer, 0 where it has not all come."""
        start = self._at + _HEADER.size
        if len(self._buffer) < start:
            return 0
        (size,) = _HEADER.unpack_from(self._buffer, self._at)
        end = start + int(size)
        return end if end <= len(self._buffer) else 0

    def _fill(self) -> None:
        if self._closed:
            raise EOFError("the channel is closed")
        try:
            chunk = os.read(self._in, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            raise EOFError("the other end closed the channel")
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += chunk


class Uninterrupted:
    """A block that a Ctrl-C does not break into: it is told after the block.

    Not by a mask, which another thread's lack of one would undo: Python runs the handler in the
    main thread, whichever thread the signal came to. Elsewhere than there it does nothing.
    """

    __slots__ = ("_before", "_got")

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the end of the block."""
        return self._got is not None

    def __enter__(self) -> Uninterrupted:
        """Put a handler in place that only takes note."""
        self._got: tuple[int, FrameType | None] | None = None
        self._before = None
        if threading.get_ident() == threading.main_thread().ident:
            before = _signal.getsignal(_signal.SIGINT)
            if callable(before):
                _signal.signal(_signal.SIGINT, self._note)
                self._before = before
        return self

    def __exit__(self, *_error: object) -> None:
        """Put the handler back that was there, and call it if it was wanted meanwhile."""
        before = self._before
        if before is not None:
            _signal.signal(_signal.SIGINT, before)
            if self._got is not None:
                before(*self._got)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._got = (number, frame)
