"""A folder for what is too large to be sent, which goes with its program, however that ends.

Any thread of the program makes one; workers only read in it, and write results into it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import weakref
from contextlib import suppress

_PREFIX = "slither-joblib-"
# A folder in memory, where it is large enough; a container's often has 64 MB.
_SHARED, _ROOM = "/dev/shm", 2 << 30
# The parents in which what dead programs left was looked for.
_swept: set[str] = set()


class Folder:
    """A folder of this program's alone, made when it is first asked for."""

    def __init__(self, parent: str | os.PathLike[str] | None) -> None:
        """Take the folder to make it in; by default the one that joblib would take."""
        self._parent = parent
        self._path: str | None = None
        self._lock = threading.Lock()
        self._remove: weakref.finalize[..., Folder] | None = None

    def path(self) -> str:
        """Return its path."""
        with self._lock:
            if self._path is None:
                parent = os.path.abspath(os.path.expanduser(self._parent or _default()))
                os.makedirs(parent, exist_ok=True)
                _sweep(parent)
                self._path, held = _made(parent)
                self._remove = weakref.finalize(self, _removed, self._path, held, os.getpid())
            return self._path

    def remove(self) -> None:
        """Remove it with what it holds; what is mapped stays so."""
        with self._lock:
            if self._remove is not None:
                self._remove()
            self._path = self._remove = None


def _default() -> str:
    named = os.environ.get("JOBLIB_TEMP_FOLDER")
    if named:
        return named
    with suppress(OSError):
        found = os.statvfs(_SHARED)
        if found.f_bsize * found.f_bavail > _ROOM and os.access(_SHARED, os.W_OK | os.X_OK):
            return _SHARED
    return tempfile.gettempdir()


def _made(parent: str) -> tuple[str, int]:
    """Make a folder, locked while this process lives; return it and the lock's descriptor."""
    while True:
        path = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        # Before it is locked, another program may take it for one that was left, and remove it.
        with suppress(FileNotFoundError, BlockingIOError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.isdir(path):
                return path, descriptor


def _removed(path: str, held: int, owner: int) -> None:
    # A child that was forked has the descriptor, and so the lock, too; the folder is not its own.
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        os.close(held)


def _sweep(parent: str) -> None:
    """Remove the folders of programs that were killed before they could."""
    if parent in _swept:
        return
    _swept.add(parent)
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            if entry.name.startswith(_PREFIX) and entry.stat().st_uid == os.getuid():
                _sweep_one(entry.path)


def _sweep_one(path: str) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)
