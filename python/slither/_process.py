"""Process hygiene: what a worker does to itself before it imports anything of the user's."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def settle() -> None:
    """Make this process a worker: its own group, no stdin, gone when its parent is."""
    # A session leader already leads its group, and may not move.
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The VM ignores SIGCHLD, and that is inherited: subprocess would lose exit codes.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Python's output would end up among the records; a crash report goes where BEAM's does.
    faulthandler.enable(file=os.dup(2))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for descriptor in (3, 4):
        os.set_inheritable(descriptor, False)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, where it can."""
    parent = os.getppid()
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the kernel was told to watch it.
        if os.getppid() != parent:
            os._exit(1)


def flush_c() -> None:
    """Flush what C code left in its own output buffers."""
    _libc.fflush(None)
