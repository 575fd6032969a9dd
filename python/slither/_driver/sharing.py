"""What one run, or one call, has in shared memory: large values on their way to workers and back.

Whoever sends and takes has them here, in his thread; the reader, and whatever ends the last
reference, may take them away.
"""

from __future__ import annotations

import os
import shutil
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slither._wire import blobs

if TYPE_CHECKING:
    from slither._driver.connection import Connection


@dataclass(slots=True)
class _Sent:
    """Items that are out, and what they have in shared memory."""

    first: int
    end: int
    left: int
    paths: list[str]
    held: list[object] = field(default_factory=list)


class Sharing(blobs.Place):
    """A folder for large values, which goes with its run or call."""

    def __init__(self, folder: str | None, name: str | None = None) -> None:
        """Take BEAM's folder, None where there is none, and the name of one in it."""
        super().__init__("", "")
        self._folder, self._name = folder, name
        self._sent: list[_Sent] = []
        self._remove: weakref.finalize[..., Sharing] | None = None

    @classmethod
    def of_run(cls, link: Connection, identity: int) -> Sharing:
        """Return that of a run, into whose folder workers put large results, too."""
        made = cls(link.shared(), f"r{identity}")
        made.make()
        return made

    def make(self) -> bool:
        """Make the folder; False where values go as they are."""
        if self._folder is None:
            return False
        if self._remove is None:
            name = self._name or f"j{os.urandom(8).hex()}"
            self.path = os.path.join(self._folder, name)
            self._prefix = f"{blobs.know(self._folder)}/{name}"
            try:
                os.mkdir(self.path, 0o700)
            except OSError:
                self._folder = None
                return False
            self._remove = weakref.finalize(self, _remove, self.path, os.getpid())
        return self._remove.alive

    def put(self, kind: int, pieces: blobs.Pieces) -> blobs.Reference:
        """Put a value, into a folder that is made for the first one."""
        if not self.make():
            raise OSError("there is no folder in shared memory")
        return super().put(kind, pieces)

    def went(self, first: int, count: int) -> int:
        """Note that what was written since goes with so many items; return its bytes."""
        if not self.written and not self.held:
            return 0
        written, held = self.taken()
        paths = [path for path, _size in written]
        self._sent.append(_Sent(first, first + count, count, paths, held))
        return sum(size for _path, size in written)

    def came(self, first: int, count: int) -> None:
        """Take away what items had that are answered now: so many from the first."""
        if not self._sent:
            return
        kept = []
        for sent in self._sent:
            sent.left -= max(0, min(sent.end, first + count) - max(sent.first, first))
            if sent.left > 0:
                kept.append(sent)
            else:
                _unlink(sent.paths)
        self._sent = kept

    def close(self) -> None:
        """Take the folder away, with all that nobody has taken out of it."""
        self._sent.clear()
        if self._remove is not None:
            self._remove()


def _unlink(paths: list[str]) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            continue


def _remove(path: str, owner: int) -> None:
    # A process that was forked from this one has it, too.
    if os.getpid() != owner:
        return
    # Most are empty, and go at once.
    with suppress(OSError):
        os.rmdir(path)
        return
    # A worker that is still at it finds no folder of the name, and so puts nothing more into it.
    gone = f"{path}x"
    with suppress(OSError):
        os.rename(path, gone)
    shutil.rmtree(gone, ignore_errors=True)
