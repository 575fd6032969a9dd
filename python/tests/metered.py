"""Handlers that count, for workers of tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from slither import metrics, worker

rows = metrics.counter("metered_rows_total", "Rows that were counted.")
kinds = metrics.counter("metered_kinds_total", "Rows, by kind.", labels=("kind",))
level = metrics.gauge("metered_level", "The last row.")
sizes = metrics.histogram("metered_sizes_bytes", "Sizes.", labels=("kind",), buckets=(1, 10))


def count(items: list[int]) -> list[int]:
    for item in items:
        rows.inc()
        kinds.inc(item, kind="even" if item % 2 == 0 else "odd")
        level.set(item)
        sizes.observe(item, kind="any")
    return items


def nothing(items: list[int]) -> list[int]:
    return items


def fails(items: list[int]) -> list[int]:
    rows.inc(len(items))
    raise ValueError("no")


def too_long(items: list[int]) -> list[str]:
    rows.inc(len(items))
    return ["x" * 10_000 for _ in items]


def yields(items: list[int]) -> Iterator[int]:
    for item in items:
        rows.inc()
        yield item


def reports(items: list[int]) -> list[int]:
    for item in items:
        rows.inc()
        worker.progress(item, len(items))
    return items


def threads(items: list[int]) -> list[int]:
    def work() -> None:
        for _ in range(1_000):
            rows.inc()

    running = [threading.Thread(target=work) for _ in items]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return items


def in_a_child(items: list[int]) -> list[int]:
    if (child := os.fork()) == 0:
        rows.inc(1_000_000)
        os._exit(0)
    os.waitpid(child, 0)
    return items


def many(items: list[int]) -> list[int]:
    for item in items:
        kinds.inc(kind=f"kind {item}")
    return items


@worker.on_stop
def stopped() -> None:
    kinds.inc(kind="stopped")
