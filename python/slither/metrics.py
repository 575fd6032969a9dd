"""Metrics of handlers' own, which BEAM adds up over all workers and shows with its own.

::

    from slither import metrics

    hits = metrics.counter("cache_hits_total", "Lookups that the cache had.", labels=("kind",))
    loads = metrics.histogram("model_load_seconds", "How long models take to load.")

    def score(row):
        hits.inc(kind="user")
        with loads.time():
            ...

What has changed goes with the answers of calls, and with parts of them: whoever has an answer
finds it counted. Where a call runs long, it goes with :func:`slither.worker.progress`, too. A
counter never goes back, be a worker killed or replaced. Metrics get the label ``pool``; a gauge,
which is of one worker and goes with it, ``worker`` too. A pool takes 1,000 series, and counts
what it refuses.

Elsewhere, as in a program that no BEAM has started, they count for themselves: see :func:`read`.
Everything here may be called from any thread.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from slither._wire.faults import clean
from slither._worker import counting
from slither._worker.counting import Metric

__all__ = ["SECONDS", "Counter", "Gauge", "Histogram", "counter", "gauge", "histogram", "read"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""The upper bounds of a histogram's buckets where none are given, for lengths of time."""

_M = TypeVar("_M", bound="_Labelled")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# What a metric of another kind, or what is shown of a histogram, is called by.
_ENDINGS = ("_total", "_bucket", "_count", "_sum")
# Labels that BEAM adds, and the one that a histogram's buckets have.
_TAKEN = frozenset({"pool", "worker", "le", "quantile"})
_MOST_LABELS = 10
_LONGEST_VALUE = 128
_LARGEST = 1 << 63


class _Labelled:
    """A metric, with values for its labels or without."""

    def __init__(self, metric: Metric, values: tuple[str, ...] | None = None) -> None:
        self._metric = metric
        self._own = () if not metric.labels else values

    def __repr__(self) -> str:
        given = counting.labelled(self._metric.labels, self._own or ())
        return f"<{type(self).__name__.lower()} {self._metric.name}{given}>"

    def __reduce__(self) -> tuple[object, ...]:
        # A function that goes to a worker by value takes its metrics along.
        return _again, (type(self), self._metric, self._own)

    def labels(self: _M, **labels: object) -> _M:
        """Return the same metric with values for its labels, for when they are used again."""
        return type(self)(self._metric, self._values(labels))

    def _values(self, labels: dict[str, object]) -> tuple[str, ...]:
        if not labels and self._own is not None:
            return self._own
        names = self._metric.labels
        if self._own is not None or len(labels) != len(names):
            raise self._mislabelled(labels)
        try:
            return tuple([_value(labels[name]) for name in names])
        except KeyError:
            raise self._mislabelled(labels) from None

    def _mislabelled(self, labels: dict[str, object]) -> ValueError:
        name, wanted = self._metric.name, ", ".join(self._metric.labels) or "none"
        if self._own:
            wanted = "none, as it has its values"
        got = ", ".join(labels) or "none"
        return ValueError(f"{name} takes a value for each of its labels: {wanted}; got {got}")


class Counter(_Labelled):
    """What only rises; :func:`counter` makes it."""

    def inc(self, count: float = 1, /, **labels: object) -> None:
        """Count one more, or ``count``, which is 0 or more.

        >>> seen = counter("docs_seen_total", "Rows that were seen.", labels=("kind",))
        >>> seen.inc(kind="a")
        >>> seen.labels(kind="b").inc(2.5)
        """
        plain = _plain(self._metric.name, count)
        if not 0 <= plain < _LARGEST:
            name = self._metric.name
            raise ValueError(f"{name} is a counter, which rises by 0 or more, not by {count!r}")
        counting.book.add(self._metric, self._values(labels), plain)


class Gauge(_Labelled):
    """What is so now, in this worker; :func:`gauge` makes it."""

    def set(self, value: float, /, **labels: object) -> None:
        """Say how much it is now.

        >>> rows = gauge("docs_cache_rows", "Rows in the cache.")
        >>> rows.set(512)
        """
        plain = float(_plain(self._metric.name, value))
        counting.book.set(self._metric, self._values(labels), plain)

    def inc(self, value: float = 1, /, **labels: object) -> None:
        """Say that it is one more, or ``value``."""
        plain = float(_plain(self._metric.name, value))
        counting.book.set(self._metric, self._values(labels), plain, by=True)

    def dec(self, value: float = 1, /, **labels: object) -> None:
        """Say that it is one less, or ``value``."""
        self.inc(-_plain(self._metric.name, value), **labels)


class Histogram(_Labelled):
    """How values are spread; :func:`histogram` makes it."""

    def observe(self, value: float, /, **labels: object) -> None:
        """Take a value.

        >>> sizes = histogram("docs_size_bytes", "Sizes of rows.", buckets=(100, 1_000))
        >>> sizes.observe(120)
        """
        plain = _plain(self._metric.name, value)
        if not -_LARGEST < plain < _LARGEST:
            raise ValueError(f"{self._metric.name} takes no {value!r}")
        counting.book.observe(self._metric, self._values(labels), plain)

    @contextmanager
    def time(self, **labels: object) -> Iterator[None]:
        """Take how many seconds a block runs, whether it raises or not."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began, **labels)


def counter(name: str, help: str, *, labels: Sequence[str] = ()) -> Counter:
    """Make a counter, whose name ends in ``_total``; the one that there is of that name.

    ``help`` says what it is, and ``labels`` what it is counted by. Raises ValueError for a name
    or a label that Prometheus does not take, and where the name is another metric's.

    >>> counter("docs_hits", "Lookups that the cache had.")
    Traceback (most recent call last):
        ...
    ValueError: the name of a counter ends in _total: 'docs_hits_total'
    """
    made = Counter(_defined("counter", name, help, labels, ()))
    if not labels:
        # It is there from the first answer on, and its first rise is seen as one.
        made.inc(0)
    return made


def gauge(name: str, help: str, *, labels: Sequence[str] = ()) -> Gauge:
    """Make a gauge, as :func:`counter` makes a counter.

    >>> gauge("docs_temperature_celsius", "Of the device.", labels=("device",))
    <gauge docs_temperature_celsius>
    """
    return Gauge(_defined("gauge", name, help, labels, ()))


def histogram(
    name: str,
    help: str,
    *,
    labels: Sequence[str] = (),
    buckets: Sequence[float] = SECONDS,
) -> Histogram:
    """Make a histogram, as :func:`counter` makes a counter.

    ``buckets`` are their upper bounds, from the least on; a last one takes all that is above.
    """
    bounds = tuple(_plain(f"a bucket of {name}", one) for one in buckets)
    if not all(math.isfinite(one) for one in bounds) or sorted(set(bounds)) != list(bounds):
        raise ValueError(f"the buckets of {name} are numbers that rise, not {bounds!r}")
    return Histogram(_defined("histogram", name, help, labels, bounds))


def read() -> dict[str, float]:
    """Return what this process has counted, by names as Prometheus has them.

    A histogram gives two, how many values it took and their sum.

    >>> hits = counter("docs_read_total", "Reads.", labels=("kind",))
    >>> hits.inc(3, kind="a")
    >>> read()['docs_read_total{kind="a"}']
    3
    """
    return counting.shown(counting.book)


def _value(value: object) -> str:
    text = value if type(value) is str else str(value)
    if len(text) <= _LONGEST_VALUE and text.isascii():
        return text
    return clean(text, _LONGEST_VALUE)


def _plain(name: str, number: float) -> float:
    if type(number) is int or type(number) is float:
        return number
    # A number of NumPy's, or a Decimal, is none that BEAM adds. A text of digits is no number.
    if not isinstance(number, str | bytes | bytearray):
        with suppress(TypeError, ValueError):
            return float(number)
    raise TypeError(f"{name} takes a number, not {number!r}")


def _again(kind: type[_M], metric: Metric, values: tuple[str, ...] | None) -> _M:
    return kind(counting.define(metric), values)


def _defined(
    kind: str,
    name: str,
    text: str,
    labels: Sequence[str],
    bounds: tuple[float, ...],
) -> Metric:
    if not isinstance(name, str):
        raise TypeError(f"a metric's name is a str, not {name!r}")
    if isinstance(labels, str):
        raise TypeError(f"labels are a tuple of names, not {labels!r}")
    if _NAME.fullmatch(name) is None or name.startswith("slither_"):
        own = "; names with slither_ are its own" if name.startswith("slither_") else ""
        raise ValueError(
            f"a metric's name is letters, digits and _, and no digit first, not {name!r}{own}"
        )
    if kind == "counter" and not name.endswith("_total"):
        raise ValueError(f"the name of a counter ends in _total: {f'{name}_total'!r}")
    if kind != "counter" and name.endswith(_ENDINGS):
        raise ValueError(f"the name of a {kind} ends in none of {', '.join(_ENDINGS)}: {name!r}")
    if not text.strip():
        raise ValueError(f"help says in a sentence what {name} is")
    for label in labels:
        if _NAME.fullmatch(label) is None or label.startswith("__") or label in _TAKEN:
            own = "; BEAM's own are " + ", ".join(sorted(_TAKEN)) if label in _TAKEN else ""
            raise ValueError(
                f"a label of {name} is letters, digits and _, and no digit first, "
                f"not {label!r}{own}"
            )
    if len(set(labels)) != len(labels) or len(labels) > _MOST_LABELS:
        raise ValueError(f"{name} has at most {_MOST_LABELS} labels, each once")
    return counting.define(Metric(kind, name, clean(text.strip()), tuple(labels), bounds))
