r"""Progress bars: what writes ``\r`` to write over the line that stands there.

Pure but for the bar's own state; :mod:`slither._worker.output` calls it for each stream it reads.
"""

from __future__ import annotations

EVERY = 0.15
"""Seconds between two states of a bar that are sent."""


class Bar:
    """The bar that a stream draws: which of its states is to be shown, and when."""

    def __init__(self) -> None:
        self._shown = b""
        self._next = 0.0
        self.due: float | None = None
        """When a state is to be shown that has come too soon; None where there is none."""

    def look(self, text: bytes, now: float) -> tuple[bytes | None, bytes]:
        r"""Return the state to show now, if any, and what is left to keep of an unfinished line.

        ``now`` is in seconds.

        >>> bar = Bar()
        >>> bar.look(b"\r1%\r2%", 10.0)
        (b'2%', b'\r2%')
        >>> bar.look(b"\r2%\r3%", 10.1), bar.due
        ((None, b'\r3%'), 10.15)
        >>> bar.look(b"\r3%", 10.2), bar.due
        ((b'3%', b'\r3%'), None)
        """
        if b"\r" not in text:
            return None, text
        start = text.rstrip(b"\r").rfind(b"\r") + 1
        state, kept = text[start:].rstrip(b"\r"), text[max(start - 1, 0) :]
        if not state or state == self._shown:
            return None, kept
        if self.due is None:
            self.due = self._next
        if now < self.due:
            return None, kept
        self._shown, self._next, self.due = state, now + EVERY, None
        return state, kept

    def end(self) -> None:
        """End it: its line is finished."""
        self._shown, self.due = b"", None


def line(text: bytes) -> bytes:
    r"""Return what is seen of a line in the end.

    >>> line(b"\r1%\r100%"), line(b"from Windows\r"), line(b"\r      \r")
    (b'100%', b'from Windows', b'')
    """
    if b"\r" not in text:
        return text
    seen = text.rstrip(b"\r").rpartition(b"\r")[2]
    return seen if seen.strip() else b""
