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

_before: int | None = None
"""The score that this process began with, its parent's; None until it has raised it."""


def settle() -> None:
    """Raise the score above that of the parent, once: a fork has it from the process it is of."""
    global _before
    if _before is not None:
        return
    with contextlib.suppress(OSError, ValueError):
        with open(_FILE) as file:
            _before = int(file.read())
        _write(_before + _MORE)


def settle_template() -> None:
    """Have a template end after its workers: each of them ends with it."""
    if _before is not None:
        with contextlib.suppress(OSError):
            _write(_before + _MORE // 2)


def settle_forked() -> None:
    """Have a worker that was forked end as any other."""
    if _before is not None:
        with contextlib.suppress(OSError):
            _write(_before + _MORE)


def _write(score: int) -> None:
    with open(_FILE, "w") as file:
        file.write(str(min(score, _MOST)))
