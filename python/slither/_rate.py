"""A limit of how many items go out in a time, as a program says it.

Pure data, made by the program in whatever thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from slither import _options
from slither._types import Payload


@dataclass(frozen=True)
class Rate:
    """``items`` tokens come in ``per`` seconds; each item of a map takes one before it is sent.

    ``burst`` is the most tokens that are kept while nobody takes any, and the most of a batch; a
    tenth of ``items`` unless given, those of a second at most. ``weight`` is what an item takes.
    Maps of one Beam that give the same ``name`` share one bucket, and say the same of it.
    ValueError names what does not fit.

    >>> Rate(items=100, per=60.0, name="openai")
    Rate(items=100, per=60.0, burst=None, weight=1, name='openai')
    """

    items: int
    per: float
    burst: int | None = None
    weight: float = 1
    name: str | None = None

    def __post_init__(self) -> None:
        """Check the figures."""
        _options.checked("items", self.items, _options.whole(1))
        _options.checked("per", self.per, _options.DURATION)
        _options.checked("burst", self.burst, _options.either(_options.whole(1), None))
        _options.checked("name", self.name, _options.either(_options.TEXT, None))
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"weight is a number of 0 or more, not {self.weight!r}")

    @property
    def document(self) -> dict[str, Payload]:
        """What BEAM gets."""
        told: dict[str, Payload] = {
            "items": self.items,
            "per": _options.milliseconds(self.per),
            "weight": self.weight,
        }
        if self.burst is not None:
            told["burst"] = self.burst
        if self.name is not None:
            told["name"] = self.name
        return told
