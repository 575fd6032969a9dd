"""What handlers count of their own, until it goes to BEAM; :mod:`slither.metrics` is its face.

Any thread counts, a finaliser or a signal's handler too. The connection of a worker takes what
has changed and sends it before the next answer, or the next part of one. Nobody imports this
before something is counted.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from typing import NamedTuple

from slither._types import Payload
from slither._wire import frames
from slither._wire.build import frame
from slither._worker import current, forked

MOST = 1_000
"""Series of one process, beyond which new ones are not taken."""


class Metric(NamedTuple):
    """What is counted: its kind and name, what it is, its labels, the bounds of its buckets."""

    kind: str
    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]


class Series:
    """One metric with one value for each of its labels.

    ``total`` is all that was counted here, of a gauge its value, and of a histogram the sum of
    what was observed; ``fresh`` is what BEAM has not been told of it. A histogram has ``counts``.
    """

    __slots__ = ("changed", "counts", "fresh", "fresh_counts", "metric", "total", "values")

    def __init__(self, metric: Metric, values: tuple[str, ...]) -> None:
        self.metric, self.values = metric, values
        self.total: float = 0
        self.fresh: float = 0
        self.changed = False
        buckets = len(metric.bounds) + 1 if metric.kind == "histogram" else 0
        self.counts, self.fresh_counts = [0] * buckets, [0] * buckets

    def take(self) -> Payload:
        """Return what is to be told, which is told with that."""
        self.changed = False
        fresh, self.fresh = self.fresh, 0
        if self.metric.kind == "gauge":
            return self.total
        if self.metric.kind == "counter":
            return fresh
        counts, self.fresh_counts = self.fresh_counts, [0] * len(self.counts)
        return [counts, fresh]


class Book:
    """All series of a process, and which of them have changed."""

    def __init__(self) -> None:
        # Reentrant, as a finaliser may count that the garbage collector runs under this lock.
        self._lock = threading.RLock()
        self._series: dict[tuple[str, tuple[str, ...]], Series] = {}
        self._changed: list[Series] = []
        self._refused = 0

    def add(self, metric: Metric, values: tuple[str, ...], count: float) -> None:
        """Add to a counter."""
        with self._lock:
            if (series := self._of(metric, values)) is not None:
                series.fresh += count
                series.total += count

    def set(
        self, metric: Metric, values: tuple[str, ...], value: float, by: bool = False
    ) -> None:
        """Set a gauge, or change it ``by`` a value."""
        with self._lock:
            if (series := self._of(metric, values)) is not None:
                series.total = series.total + value if by else value

    def observe(self, metric: Metric, values: tuple[str, ...], value: float) -> None:
        """Put a value into a histogram."""
        place = bisect_left(metric.bounds, value)
        with self._lock:
            if (series := self._of(metric, values)) is not None:
                series.total += value
                series.fresh += value
                series.counts[place] += 1
                series.fresh_counts[place] += 1

    def _of(self, metric: Metric, values: tuple[str, ...]) -> Series | None:
        series = self._series.get((metric.name, values))
        if series is None:
            if len(self._series) >= MOST:
                self._refused += 1
                return None
            series = self._series[metric.name, values] = Series(metric, values)
        if not series.changed:
            # In this order: an exception of a signal's handler may strike between the two.
            self._changed.append(series)
            series.changed = True
        return series

    def series(self) -> list[Series]:
        """Return all series, in the order in which they came."""
        with self._lock:
            return list(self._series.values())

    def take(self, call: int) -> bytes | None:
        """Return a frame of all that has changed since the last one, None where nothing has."""
        if not self._changed and not self._refused:
            return None
        rows: dict[str, list[Payload]] = {}
        with self._lock:
            changed, self._changed = self._changed, []
            refused, self._refused = self._refused, 0
            for series in changed:
                kind, name, text, labels, bounds = series.metric
                row = rows.setdefault(name, [kind, name, text, list(labels), list(bounds), []])
                row[-1].append([list(series.values), series.take()])
        if refused:
            rows[""] = ["refused", "", "", [], [], [[[], refused]]]
        return frame(frames.METRICS, call, list(rows.values()))


book = Book()
"""What is counted goes here."""
_metrics: dict[str, Metric] = {}


def define(metric: Metric) -> Metric:
    """Have a metric; the one that there is of that name, if it is the same."""
    current.counted = take
    found = _metrics.setdefault(metric.name, metric)
    if found._replace(help=metric.help) != metric:
        raise ValueError(
            f"metric {metric.name!r} is there already: {_told(found)}, not {_told(metric)}"
        )
    return found


def take(call: int) -> bytes | None:
    """Return a frame of what has changed in the book."""
    return book.take(call)


def shown(book: Book) -> dict[str, float]:
    """Return what is in a book, by names as Prometheus has them; of a histogram count and sum."""
    found: dict[str, float] = {}
    for series in book.series():
        metric = series.metric
        labels = labelled(metric.labels, series.values)
        if metric.kind == "histogram":
            found[f"{metric.name}_count{labels}"] = sum(series.counts)
            found[f"{metric.name}_sum{labels}"] = series.total
        else:
            found[metric.name + labels] = series.total
    return found


def labelled(labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return labels with their values in braces, or nothing where there are none."""
    if not values:
        return ""
    pairs = zip(labels, values, strict=True)
    return "{" + ",".join(f"{name}={_quoted(value)}" for name, value in pairs) + "}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def _told(metric: Metric) -> str:
    labels = (
        f" with the labels {', '.join(metric.labels)}" if metric.labels else " without labels"
    )
    bounds = f" and the buckets {', '.join(map(str, metric.bounds))}" if metric.bounds else ""
    return f"a {metric.kind}{labels}{bounds}"


def _begin_anew() -> None:
    # A forked child: whoever held the lock is not there, and BEAM hears nothing of it. A worker
    # tells BEAM itself of what its template has counted, as one that has imported it all.
    global book
    if not forked.hatching:
        book = Book()


os.register_at_fork(after_in_child=_begin_anew)
