"""Has the kernel end a worker before BEAM, where the memory of the machine runs out.

The main thread raises the score at the start. Every process may raise its own, and what a worker
starts has its parent's.
"""

from __future__ import annotations

import contextlib

_FILE = "/proc/self/oom_score_adj"
# Thousandths of the machine's memory that count beside what a process has: a worker goes first
# unless BEAM alone has four fifths of it. The kernel knows no more than the most.
_MORE = 800
_MOST = 1_000

_raised = False


def settle() -> None:
    """Raise the score above that of the parent, once: a fork has it from the process it is of."""
    global _raised
    if _raised:
        return
    _raised = True
    with contextlib.suppress(OSError, ValueError):
        with open(_FILE) as file:
            score = int(file.read())
        with open(_FILE, "w") as file:
            file.write(str(min(score + _MORE, _MOST)))
