"""Whose turn it is in each session: what was asked for first goes first, and alone.

The writer keeps it for the single calls of a Beam (see ``calls``). A turn belongs to a key: the
target of calls, which go by one window and keep their order there, or an end of the session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

E = TypeVar("E")


class Turns(Generic[E]):
    """The key that has the turn in each session, and the entries that wait for theirs."""

    def __init__(self) -> None:
        """Begin with no session."""
        self._now: dict[str, Hashable] = {}
        self._held: dict[str, deque[tuple[Hashable, E]]] = {}

    @property
    def held(self) -> int:
        """How many entries are held back."""
        return sum(map(len, self._held.values()))

    def take(self, session: str, key: Hashable, entry: E) -> bool:
        """Tell whether an entry may go now; else it is held back."""
        held = self._held.get(session)
        if held is None and self._now.setdefault(session, key) == key:
            return True
        self._held.setdefault(session, deque()).append((key, entry))
        return False

    def over(self, session: str, key: Hashable) -> list[E]:
        """End the turn of a key, if it has that; return the entries that have theirs now."""
        if session not in self._now or self._now[session] != key:
            return []
        del self._now[session]
        held = self._held.pop(session, None)
        if not held:
            return []
        first = self._now[session] = held[0][0]
        entries = []
        while held and held[0][0] == first:
            entries.append(held.popleft()[1])
        if held:
            self._held[session] = held
        return entries

    def drop(self, refused: Callable[[E], bool]) -> None:
        """Take out those held entries that ``refused`` says to."""
        for session, held in list(self._held.items()):
            left = deque(pair for pair in held if not refused(pair[1]))
            if left:
                self._held[session] = left
            else:
                del self._held[session]

    def clear(self) -> list[E]:
        """Forget all sessions; return what was held back."""
        entries = [entry for held in self._held.values() for _key, entry in held]
        self._now.clear()
        self._held.clear()
        return entries
