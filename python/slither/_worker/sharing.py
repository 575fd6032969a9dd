"""Where large results of the call that runs go, in place of the pipe.

The main thread asks as it encodes results. A program's run has a folder in shared memory for
them, named for it; a single call has that in which its large arguments came. Both go with who
asked: where the folder is gone, nobody waits, and nothing can be left in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from slither._types import Payload
from slither._wire import blobs
from slither._worker import current

# What a handler gave; what else goes to BEAM is for BEAM to keep.
_KINDS = frozenset({"function", "item", "each", "apply", "command"})
# How deep large arguments are looked for: in the items, their lists, and the lists in these.
_LEVELS = 3


class Results(blobs.Place):
    """The place of whichever call runs."""

    def __init__(self) -> None:
        """Take nothing: the call that runs says where."""
        super().__init__("", "")

    def put(self, kind: int, pieces: blobs.Pieces) -> blobs.Reference:
        """Put a result; raises OSError where the call has no place."""
        call = current.running
        if call is None or call.target[0] not in _KINDS or call.context.get("pipe") is not None:
            raise OSError("no call that has a place")
        prefix = _of_items(call.items, _LEVELS) or _of_run(call.context.get("run"))
        if prefix is None:
            raise OSError("no place in shared memory")
        self.path, self._prefix = blobs.path_of(f"{prefix}/x")[:-2], prefix
        made = super().put(kind, pieces)
        self.taken()
        return made


def _of_items(items: Iterable[Payload], levels: int) -> str | None:
    for item in items:
        if type(item) is blobs.Reference and item.use == blobs.OWN:
            prefix, _, _file = item.name.rpartition("/")
            return prefix
        if levels and type(item) in (list, tuple, dict):
            inner = item.values() if type(item) is dict else item
            if found := _of_items(inner, levels - 1):
                return found
    return None


def _of_run(name: object) -> str | None:
    if folder is None or type(name) is not str:
        return None
    prefix = f"{blobs.know(folder)}/r{name.removeprefix('run-')}"
    return prefix if os.path.isdir(blobs.path_of(prefix)) else None


folder: str | None = None
"""BEAM's folder in shared memory."""
RESULTS = Results()
