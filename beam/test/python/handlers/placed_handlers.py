"""Handlers that tell where their worker runs, and with which variables."""

from __future__ import annotations

import os

from slither.worker import context

# As whatever is imported finds it.
IMPORTED = sorted(os.sched_getaffinity(0))


def place(names):
    """Tell the worker's number, its cpus, and the variables of these names."""
    own = {name: os.environ.get(name) for name in names}
    facts = {"worker": context().worker, "imported": IMPORTED}
    cpus = sorted(os.sched_getaffinity(0))
    return [{"cpus": cpus, **facts, **own} for _ in names]
