"""What BEAM reads of a worker that has died, from memory that both have open.

The main thread makes it and notes the call that runs; the kernel's report of a fatal signal goes
behind that. The memory is a file without a name: nobody else can open it, and nothing is left of
it, however the worker and BEAM end. BEAM opens it by the worker's descriptor, in /proc. Where the
system has no such thing, or BEAM does not see this process there, BEAM knows less of a death.
"""

from __future__ import annotations

import mmap
import os
import struct

from slither._worker import timed
from slither._worker.output import ROOM
from slither._worker.process import report_crashes

# Bytes before the last words: the call that runs, and what it is at.
_HEAD = 16
SIZE = _HEAD + ROOM
"""Bytes before the report of a fatal signal; the system gives memory to those that are used."""


class Marker:
    """The call that runs, its item, the last words, and the report of a fatal signal."""

    def __init__(self) -> None:
        """Make the memory; nobody else has it open yet."""
        self._memory: mmap.mmap | bytearray = bytearray(SIZE)
        self._file = nameless(SIZE)

    @property
    def place(self) -> list[int] | None:
        """Where BEAM finds the memory, until it has said whether it did."""
        return None if self._file is None else place(self._file)

    @property
    def words(self) -> memoryview:
        """Where the last words stand, ``ROOM`` bytes."""
        return memoryview(self._memory)[_HEAD:]

    def settle(self, shared: bool) -> None:
        """Use the memory, if BEAM has opened it, or else this process's own."""
        if self._file is None:
            return
        if shared:
            self._memory = mmap.mmap(self._file, SIZE)
            timed.slot = memoryview(self._memory)[8:_HEAD].cast("Q")
            os.lseek(self._file, SIZE, os.SEEK_SET)
            report_crashes(self._file)
        os.close(self._file)
        self._file = None

    def set(self, identity: int) -> None:
        """Note the call that runs, 0 for none."""
        timed.rest()
        struct.pack_into("<Q", self._memory, 0, identity)


def place(descriptor: int) -> list[int]:
    """Give a descriptor's number, and the device and number of its file, as others check it."""
    file = os.fstat(descriptor)
    return [descriptor, file.st_dev, file.st_ino]


def nameless(size: int) -> int | None:
    """Make a file in memory, without a name, of so many bytes; None where that can't be."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        file = os.memfd_create(f"slither-{os.urandom(8).hex()}")
    except OSError:
        return None
    try:
        os.truncate(file, size)
    except OSError:
        # The process has a limit on the size of files (RLIMIT_FSIZE), and this one is larger.
        os.close(file)
        return None
    return file
