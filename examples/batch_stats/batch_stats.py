"""What the workers of batch_stats run: the work itself is in ``welford``."""

from __future__ import annotations

import math

import welford
from welford import DataSet, Stats, Total

from slither.worker import Failure


def load(counts: list[int]) -> list[list[DataSet]]:
    """The data sets."""
    return [welford.load(count) for count in counts]


def expected(lists: list[list[DataSet]]) -> list[Total]:
    """The statistics of all values of those that are sound, in one process."""
    return [welford.expected(sets) for sets in lists]


# coordination: slither
def describe(sets: list[DataSet]) -> list[Stats | Failure]:
    """Statistics of each; one whose mean is no number fails alone."""
    return [_checked(welford.describe(data)) for data in sets]


def _checked(stats: Stats) -> Stats | Failure:
    return stats if math.isfinite(stats["mean"]) else Failure("the mean is no number")


# end of coordination
