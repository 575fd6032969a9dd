"""Process hygiene: what a worker does to itself before it imports anything of the user's.

The main thread runs it at the start; the output's capture sets its descriptors aside with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import os
import resource
import signal
import sys

from slither._worker import affinity, forked, oom

_PR_SET_PDEATHSIG = 1
# select() only takes descriptors below this. The worker's own are put among the last of those.
_MOST_DESCRIPTORS = 1_024
_ASIDE = 24
_libc = ctypes.CDLL(None, use_errno=True)
# Where the report of a fatal signal goes; None for the stderr that BEAM gave us.
_crashes: int | None = None


def settle() -> None:
    """Make this process a worker: no stdin, gone when its parent is.

    It stays in the group it was started in: that of the process BEAM started, which is this one,
    or a script that has started it, and is killed as a whole.
    """
    die_with_parent(os.getppid())
    affinity.settle()
    oom.settle()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The VM ignores SIGCHLD and its children inherit
    # that, which would cost subprocess exit codes.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Until BEAM names a place for crash reports, they go to the stderr that BEAM gave us.
    faulthandler.enable(file=aside(2))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def settle_forked(template: int) -> None:
    """Make this process, which the process ``template`` has just forked, a worker of its own.

    It leads a group of its own, as one that BEAM has started, and is gone when its template is.
    """
    with contextlib.suppress(OSError):
        # The template does the same: nobody finds this process in another group.
        os.setpgid(0, 0)
    die_with_parent(template)


def take_port() -> tuple[int, int]:
    """Move the port from descriptors 3 and 4, which are /dev/null from then on.

    What closes them, or writes to them by mistake, does no harm.
    """
    moved = aside(3), aside(4)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (3, 4):
        os.dup2(null, descriptor, inheritable=False)
    os.close(null)
    return moved


def aside(descriptor: int) -> int:
    """Copy a descriptor to a number that nobody guesses, and that no child inherits."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MOST_DESCRIPTORS if limit < 0 else min(limit, _MOST_DESCRIPTORS)
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, max(limit - _ASIDE, 5))


def report_crashes(file: int) -> None:
    """Have the report of a fatal signal written to a file, where that is.

    A child that is forked reports its own where it writes its errors: this file is its parent's.
    """
    global _crashes
    before, _crashes = _crashes, aside(file)
    faulthandler.enable(file=_crashes)
    if before is not None:
        os.close(before)
    forked.on_child(_report_to_stderr)


def _report_to_stderr() -> None:
    if faulthandler.is_enabled():
        faulthandler.enable(file=2)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` ends, where it can."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # If the parent died before this call, the kernel does not send the signal any more.
        if os.getppid() != parent:
            os._exit(1)


def flush_c() -> None:
    """Flush what C code left in its own output buffers."""
    _libc.fflush(None)
