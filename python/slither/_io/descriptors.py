"""How much an operating system's pipe holds.

The thread that writes or reads a long message calls it, in :mod:`slither._io.port`, and the main
thread for the pipes that capture output.
"""

from __future__ import annotations

import sys

USUAL = 65_536
"""Bytes that a pipe holds by itself."""
MOST = 1 << 20
"""Bytes that anybody may have it hold, where the system was not told otherwise."""


def widen(pipe: int, size: int) -> bool:
    """Have a pipe hold ``size`` bytes, ``MOST`` at most, and tell whether it does.

    Who writes and who reads a long message wake one another each time that the pipe is full and
    empty: one that holds the whole message spares them that. It does not, and nothing is lost,
    where the system has no such thing, or the user's share of it is used up.
    """
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, min(size, MOST))
    except OSError:
        return False
    return True
