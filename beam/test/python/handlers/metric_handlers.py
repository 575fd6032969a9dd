"""Handlers that count: what they count, and how often, is for a test to find."""

import os

from slither import metrics, worker

rows = metrics.counter("handlers_rows_total", "Rows that were counted.")
halves = metrics.counter("handlers_halves_total", "Half a row each.", labels=("kind",))
level = metrics.gauge("handlers_level", "The last row.")
sizes = metrics.histogram("handlers_sizes_bytes", "Sizes.", buckets=(1, 10))
stops = metrics.counter("handlers_stops_total", "Workers that have ended in order.")


@worker.on_stop
def stopped():
    stops.inc()


def count(items):
    for item in items:
        rows.inc()
        halves.inc(0.5, kind="even" if item % 2 == 0 else "odd")
        level.set(item)
        sizes.observe(item)
    return items


def count_and_end(items):
    rows.inc(len(items))
    os._exit(7)


def pid(items):
    return [os.getpid() for _ in items]


def yields(items):
    for item in items:
        rows.inc()
        yield item


def many(items):
    for item in items:
        halves.inc(kind=str(item))
    return items
