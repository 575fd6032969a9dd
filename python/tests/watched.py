"""Handlers of a program that is watched: what they do is in their items."""

from __future__ import annotations

import logging
import os
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
    if does == "die":
        os._exit(3)
    if does == "hang":
        wait_for_model(row["gate"])
    if does == "warn":
        log.warning("model %s took long", row["text"])
    time.sleep(0.0004)
    return len(row["text"]) / 10


def wait_for_model(gate: str) -> None:
    """Hang until somebody opens the gate, which is a named pipe."""
    with open(gate) as waiting:
        waiting.read()
