"""The socket to BEAM, and the frames on it: each is written by C code in one step.

Any thread of the program writes; the reader alone reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import socket
import struct
from collections.abc import Iterator

from slither._errors import BeamError, ProtocolError
from slither._version import MAX_FRAME

Pieces = tuple[bytes | memoryview, ...]

LONGEST = 262_144
"""Bytes of a frame that a thread of the program's writes itself: longer ones are the writer's.

What does not fit the buffer is more than one step, and no signal handler interrupts the writer.
"""
_HEADER = struct.Struct(">I")
_READ_AHEAD = 65_536

header = _HEADER.pack
"""Return the bytes before a frame of so many."""


class Channel:
    """One end of a pair of sockets, from its making to its last use.

    A buffer takes a frame as one step, and keeps what an exception of a signal handler has kept
    from being sent.
    """

    def __init__(self) -> None:
        """Make the pair; :attr:`theirs` is to be given to BEAM, and closed."""
        self._socket, self.theirs = _sockets()
        self._raw = io.FileIO(self._socket.fileno(), "w", closefd=False)
        self._buffer = io.BufferedWriter(self._raw, _HEADER.size + LONGEST)

    def put(self, data: bytes | memoryview) -> None:
        """Send bytes, now or with those that come next."""
        try:
            self._buffer.write(data)
            self._buffer.flush()
        except RuntimeError as error:
            if not str(error).startswith("reentrant call"):
                # A signal handler of the program's has raised this error.
                raise
            raise BeamError(
                "a signal handler asked the Beam for something in the middle of another request "
                "of the same thread; have it take note, and ask later"
            ) from error
        except (BrokenPipeError, ConnectionResetError):
            # The reader meets the end of the socket as well, and tells all who wait.
            return

    def frames(self) -> Iterator[bytes]:
        """Give the frames that come, until BEAM closes its side or a frame is cut off."""
        with io.FileIO(self._socket.fileno(), closefd=False) as raw:
            stream = io.BufferedReader(raw, _READ_AHEAD)
            while len(head := stream.read(_HEADER.size)) == _HEADER.size:
                (size,) = _HEADER.unpack(head)
                if not 0 < size <= MAX_FRAME:
                    raise ProtocolError(f"a frame of {size} bytes")
                body = stream.read(size)
                if len(body) < size:
                    return
                yield body

    def shut(self) -> None:
        """End both directions; the number stays taken while a thread may still write to it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def leave_to_parent(self) -> None:
        """Close it in a forked child, whose buffer must not be written to another file later."""
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self._socket.fileno(), inheritable=False)
        os.close(null)

    def __del__(self) -> None:
        """Close the socket; a channel whose making was interrupted may have none."""
        # A buffer writes its rest when it is freed, and by then another file may have the
        # socket's number. So the raw file under the buffer is closed first.
        for made in (getattr(self, "_raw", None), getattr(self, "_socket", None)):
            if made is not None:
                made.close()


def _sockets() -> tuple[socket.socket, socket.socket]:
    # In a program that has closed its standard streams a new socket gets one of their numbers,
    # and BEAM would take it for a standard stream.
    pair = socket.socketpair()
    with pair[0], pair[1]:
        above = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 3) for one in pair]
    ours, theirs = (socket.socket(fileno=number) for number in above)
    return ours, theirs
