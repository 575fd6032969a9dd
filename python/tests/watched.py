"""Handlers of a program that is watched: what they do is in their items."""

from __future__ import annotations

import fcntl
import logging
import time

log = logging.getLogger("watched")

Row = dict[str, str]


def clean(rows: list[Row]) -> list[Row]:
    return [{**row, "text": row["text"].strip().lower()} for row in rows]


def score(rows: list[Row]) -> list[dict[str, float]]:
    return [{"score": one_score(row)} for row in rows]


def one_score(row: Row) -> float:
    does = row.get("does")
    if does == "fail":
        raise ValueError(f"not a number: {row['text']!r}")
    if does == "hang":
        log.warning("asking %s", row["text"])
        wait_for_model(row["gate"])
    # Small, so that a worker has a core left for who looks.
    time.sleep(0.002)
    return len(row["text"]) / 10


def wait_for_model(gate: str) -> None:
    """Hang while somebody else holds the file's lock."""
    with open(gate) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
