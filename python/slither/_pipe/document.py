"""What others want to know of a pipe's document.

Pure; called by the driver before a run and by ``slither check``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from slither._types import Payload


class Handler(NamedTuple):
    """A function that a stage runs, and where that stage is."""

    module: str
    name: str
    pipe: str
    stage: str


def handlers(document: dict[str, Payload]) -> Iterator[Handler]:
    """Walk over the functions of all stages, those of inner pipes included."""
    for stage in document["stages"]:
        if stage["type"] == "pipe":
            yield from handlers(stage["pipe"])
        elif "module" in stage:
            yield Handler(stage["module"], stage["function"], document["name"], stage["name"])
