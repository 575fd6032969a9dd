"""The thread ``slither-reader``: it gives each frame from BEAM to whoever has its id.

It decodes no values, runs no code of the program's, and waits for nobody but BEAM.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from slither._driver.channel import Channel
from slither._wire import frames
from slither._wire.glance import kind_and_id

_LASTING = frozenset({frames.OUTPUTS, frames.MORE})
_LAST = frozenset({frames.DONE, frames.VIEW_REPLY})


class Box(Protocol):
    """Takes what comes for one run or question, in the reader; it must not wait."""

    def put(self, body: bytes | None) -> None:
        """Take one frame's body; None when no more will come."""


class Reader:
    """Sorts what comes by id, until there is no more."""

    def __init__(
        self,
        channel: Channel,
        boxes: dict[int, Box],
        take: Callable[[bytes], None],
        end: Callable[[str], None],
    ) -> None:
        """Take who waits for which id, what gets all else, and what learns why it has ended."""
        self._channel, self._boxes = channel, boxes
        self._take, self._end = take, end
        self.thread = threading.Thread(target=self._run, name="slither-reader", daemon=True)

    def _run(self) -> None:
        fault = "BEAM closed the connection"
        try:
            for body in self._channel.frames():
                self._sort(body)
        except OSError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            fault = f"what BEAM sent could not be read: {error}"
        self._end(fault)

    def _sort(self, body: bytes) -> None:
        kind, identity = kind_and_id(body)
        if kind in _LASTING:
            box = self._boxes.get(identity)
        elif kind in _LAST:
            box = self._boxes.pop(identity, None)
        else:
            self._take(body)
            return
        # A frame that crossed the end of its run or question is dropped.
        if box is not None:
            box.put(body)
