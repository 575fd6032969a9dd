"""The data sets, and what is computed of each: the same for Slither and for the baselines.

A data set holds the lengths of the lines of a passage from Python's standard library. Some are
poison, each in a way that data are in practice.
"""

from __future__ import annotations

import math
import os
import random
import signal
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypedDict

POISON_EVERY = 40
"""One data set of so many is poison: 50 of 2,000."""

Value = float | str | None


class DataSet(TypedDict):
    number: int
    source: str
    values: list[Value]
    fault: str | None
    """What the code of somebody else does with it: ``crash`` or ``hang``."""


class Stats(TypedDict):
    number: int
    count: int
    mean: float
    m2: float
    low: float
    high: float


Total = tuple[int, float, float]
"""Count, mean and the sum of squared differences from it."""

ZERO: Total = (0, 0.0, 0.0)


def load(count: int) -> list[DataSet]:
    """Return so many data sets, always the same ones."""
    passages = list(islice(_passages(), count))
    sets = [
        DataSet(number=number, source=source, values=list(values), fault=None)
        for number, (source, values) in enumerate(passages)
    ]
    poison = poisoned(count)
    for turn, number in enumerate(poison):
        _poison(sets[number], turn, len(poison))
    return sets


def poisoned(count: int) -> list[int]:
    """Return the numbers of those that are poison."""
    return list(range(POISON_EVERY // 2, count, POISON_EVERY))


def describe(data: DataSet) -> Stats:
    """Return Welford's statistics of a data set, and a confidence interval of its mean.

    Raises what its values make Python raise. A mean that is no number is returned as it is.
    """
    if data["fault"] == "crash":
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
    if data["fault"] == "hang":
        threading.Event().wait()  # as a lock does that nobody releases
    values = [_number(value) for value in data["values"]]
    count, mean, m2 = welford(values)
    low, high = _interval(values, data["number"])
    return {
        "number": data["number"],
        "count": count,
        "mean": mean,
        "m2": m2,
        "low": low,
        "high": high,
    }


def welford(values: Iterable[float]) -> Total:
    """Return count, mean and m2, in one pass.

    >>> welford([1.0, 2.0, 3.0])
    (3, 2.0, 2.0)
    """
    count, mean, m2 = ZERO
    for value in values:
        count += 1
        delta = value - mean
        mean += delta / count
        m2 += delta * (value - mean)
    if count == 0:
        raise ValueError("no values")
    return count, mean, m2


def combine(one: Total, other: Total) -> Total:
    """Return the statistics of two sets of values together.

    >>> combine((2, 1.5, 0.5), (1, 3.0, 0.0))
    (3, 2.0, 2.0)
    """
    count = one[0] + other[0]
    delta = other[1] - one[1]
    mean = one[1] + delta * other[0] / count
    return count, mean, one[2] + other[2] + delta * delta * one[0] * other[0] / count


def expected(sets: list[DataSet]) -> Total:
    """Return the statistics of all values of those that are sound, in one process."""
    bad = set(poisoned(len(sets)))
    return welford(
        _number(value) for data in sets if data["number"] not in bad for value in data["values"]
    )


def same(one: Total, other: Total) -> bool:
    """Say whether two totals are the same, but for rounding."""
    return one[0] == other[0] and all(
        math.isclose(a, b, rel_tol=1e-9) for a, b in zip(one[1:], other[1:], strict=True)
    )


def _number(value: Value) -> float:
    if value is None or isinstance(value, str):
        raise TypeError(f"{value!r} is no number")
    return value


def _interval(values: list[float], seed: int) -> tuple[float, float]:
    # Bootstrapped, and the same each time.
    source = random.Random(seed)
    means = sorted(
        math.fsum(source.choices(values, k=len(values))) / len(values) for _ in range(50)
    )
    return means[0], means[-1]


def _poison(data: DataSet, turn: int, turns: int) -> None:
    values = data["values"]
    if turn == turns // 3:
        data["fault"] = "crash"
    elif turn == 2 * turns // 3:
        data["fault"] = "hang"
    elif turn % 3 == 0:
        values[0:2] = [math.inf, -math.inf]  # whose mean is no number
    elif turn % 3 == 1:
        values[len(values) // 2] = "n/a"
    else:
        values.clear()


def _passages() -> Iterator[tuple[str, list[float]]]:
    """Give passages of 50 to 250 lines, from the first file again after the last."""
    root = Path(os.__file__).parent
    skipped = {"site-packages", "dist-packages"}
    files = [path for path in sorted(root.rglob("*.py")) if not skipped & set(path.parts)]
    sizes = random.Random(0)
    while True:
        for path in files:
            lines = path.read_bytes().splitlines()
            start = 0
            while len(lines) - start >= 50:
                size = sizes.randint(50, 250)
                source = str(path.relative_to(root).parent)
                yield source, [float(len(line)) for line in lines[start : start + size]]
                start += size
