"""Forks of a program that drives BEAM: the child closes its end, and nobody is warned of ours.

Run by the thread that forks: in the child, when it has been made, and by the module ``warnings``.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
import weakref
from typing import Any, Protocol

_THREADS = {"slither-writer", "slither-reader", "slither-relay", "slither-beam-output"}


class Parents(Protocol):
    """What belongs to the process that made it."""

    def leave_to_parent(self) -> None:
        """Give it up, in a forked child."""


_made: weakref.WeakSet[Parents] = weakref.WeakSet()


def know(one: Parents) -> None:
    """Have children give up ``one``, and Python not warn of forks beside its threads."""
    _made.add(one)
    # Python 3.12 and newer warn of each fork beside a thread.
    filters: Any = warnings.filters
    if no_warning not in filters:
        filters.insert(0, no_warning)
        # Drops the decisions that warnings has cached; newer Pythons do so by themselves.
        getattr(warnings, "_filters_mutated", lambda: None)()


def _after_fork() -> None:
    # If the child kept the socket open, BEAM would
    # not see the end of the program that drives it.
    for one in list(_made):
        one.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)


class OfOurThreads:
    """Matches the warning of a fork beside threads, where all of these are Slither's.

    A child takes no lock of theirs: it closes its end of the socket, and asks for nothing.

    It stands where the module ``warnings`` has a regular expression, and who copies its filters
    (as scikit-learn does, for what runs in parallel) takes it for one: that matches nothing.
    """

    pattern = "(?!)"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Be pickled as that."""
        return re.compile, (self.pattern,)

    def match(self, text: str) -> bool:
        """Tell whether nobody else has threads."""
        others = [one for one in threading.enumerate() if one is not threading.current_thread()]
        return "multi-threaded" in text and all(one.name in _THREADS for one in others)


no_warning: Any = ("ignore", OfOurThreads(), DeprecationWarning, None, 0)
