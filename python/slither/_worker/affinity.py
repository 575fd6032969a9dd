"""The cpus of a worker: those that BEAM has for it, of all that its machine has.

The main thread sets them before anything of the user's is imported, so that every thread which is
started later has them, too, and libraries that count cpus find these.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "SLITHER_CPUS"


def settle() -> None:
    """Run on the cpus that the environment names, where the system lets a process choose.

    A cpu that has gone offline since is no reason not to start: it is told on standard error.
    """
    named = os.environ.get(VARIABLE)
    if not named or not hasattr(os, "sched_setaffinity"):
        return
    try:
        os.sched_setaffinity(0, {int(cpu) for cpu in named.split(",")})
    except (OSError, ValueError) as error:
        print(f"slither: {VARIABLE}={named} is not used: {error}", file=sys.stderr)
