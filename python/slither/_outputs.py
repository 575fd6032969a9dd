"""What a run of a pipe gives: payloads by output, or why it has stopped.

Plain data, made by the driver's runs and by pipes that run in a test.
"""

from __future__ import annotations

from typing import Any

from slither._errors import SlitherError
from slither._summary import Summary


class Outputs(dict[str, list[Any]]):
    """What came out of a pipe: lists of payloads by output, ``default`` always among them.

    ``errors`` has the error of each item that a policy has routed, by output and by its place
    in the list; ``summary`` is the account of the run.
    """

    def __init__(self, names: list[str]) -> None:
        """Begin with empty lists."""
        super().__init__({name: [] for name in names})
        self.errors: dict[str, dict[int, Exception]] = {}
        self.summary = Summary()


def why(pipe: str, stage: str | None, item: object, cause: Exception) -> str:
    """Say where a run has stopped, and why: the message of its :class:`slither.RunError`."""
    place = f"pipe {pipe!r}"
    place += "" if stage is None else f", stage {stage!r}"
    place += f", item {item}" if isinstance(item, int) else ""
    kind = "" if isinstance(cause, SlitherError) else f"{type(cause).__name__}: "
    return f"{place}: {kind}{cause}"
