"""Bad rows and failed items: writes each to a file, and counts when there are too many.

The run of the command pulls rows through it and calls it for each such item, in the main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from slither._cli.reading import RowFault
from slither._cli.writing import Lines
from slither._driver.run import PAUSED
from slither._summary import Summary
from slither._types import Payload

SKIPPED = "_skipped_with_error"
"""The output, known to the command alone, of items that a policy leaves out."""


class RowRefused(Exception):
    """A row that is none, where that stops the run; the message names the place."""


class BadRows:
    """Lets rows through, and counts those that are none: they stop the run, or are left out."""

    def __init__(self, name: str, policy: str, file: Lines | None) -> None:
        """Take the input's name, ``stop`` or ``skip``, and a file that gets what is left out."""
        self._name = name
        self._stops = policy == "stop"
        self._file = file
        self.rows = 0
        """Rows so far, with those that are none."""
        self.refused = 0
        """Rows that are none."""

    def through(self, rows: Iterator[Payload | RowFault]) -> Iterator[Payload]:
        """Give the rows; RowRefused for the first that is none where that stops the run.

        Where the input pauses, what was left out is written.
        """
        for row in rows:
            if row is PAUSED:
                if self._file is not None:
                    self._file.pass_on()
                yield row
                continue
            self.rows += 1
            if not isinstance(row, RowFault):
                yield row
                continue
            self.refused += 1
            if self._stops:
                raise RowRefused(f"{self._name}, {row.place}: {row.reason}")
            if self._file is not None:
                self._file.write({"file": self._name, **row._asdict()})


class Failures:
    """Counts the items that a pipe's policies left out or sent away, and writes them down."""

    def __init__(self, file: Lines | None) -> None:
        self._file = file
        self.count = 0

    def __call__(self, output: str | None, payload: Payload, fault: dict[str, Payload]) -> None:
        """Take an item, its error, and the output that it went to, None for no output."""
        self.count += 1
        if self._file is None:
            return
        error = {key: fault[key] for key in ("kind", "type", "message") if key in fault}
        self._file.write(
            {
                "payload": payload,
                "error": error,
                "stage": fault.get("stage"),
                "traceback": fault.get("traceback"),
                "output": None if output == SKIPPED else output,
                "item": fault.get("item"),
            }
        )


def without(summary: Summary) -> Summary:
    """Return the account as that of the pipe as it was written."""
    outputs = dict(summary.outputs)
    skipped = outputs.pop(SKIPPED, 0)
    return replace(
        summary,
        outputs=outputs,
        skipped=summary.skipped + skipped,
        routed=summary.routed - skipped,
    )


def limit(text: str) -> Callable[[int, int], bool]:
    """Return whether so many failures, of so many rows, are too many: ``N`` or ``P%``.

    >>> limit("2")(3, 100), limit("2%")(3, 100), limit("3%")(3, 100)
    (True, True, False)
    """
    number = float(text[:-1]) if text.endswith("%") else int(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    if text.endswith("%"):
        return lambda failed, rows: failed * 100 > number * rows
    return lambda failed, _rows: failed > number


def told(document: dict[str, Payload]) -> dict[str, Payload]:
    """Return a pipe's document with an output for what its policies leave out."""
    inner = False
    for stage in document["stages"]:
        if stage["type"] == "pipe":
            stage["pipe"] = told(stage["pipe"])
            inner = inner or SKIPPED in stage["pipe"]["outputs"]
    found = [_policy(entry) for entry in document.get("on_error", ())]
    if inner or any(found):
        document["outputs"] = [*document["outputs"], SKIPPED]
    return document


def _policy(entry: dict[str, Payload]) -> bool:
    # The policy is under one of two keys. A policy that skips items is replaced by one that
    # routes them to the output SKIPPED.
    for key in ("policy", "then"):
        policy = entry.get(key)
        if policy == "skip":
            entry[key] = {"route": SKIPPED}
            return True
        if isinstance(policy, dict) and "retry" in policy:
            return _policy(policy["retry"])
    return False
