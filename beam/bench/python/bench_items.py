"""The workload: small dictionaries, and a handler that gives them back."""

from __future__ import annotations

import random
import time

ITEMS = 20_000
CHUNK = 64
WORKERS = 2


def items(count: int) -> list[dict[str, object]]:
    """Make ``count`` items."""
    return [{"id": n, "text": f"some text of the item {n}", "score": n / 3} for n in range(count)]


def same(item: dict[str, object]) -> dict[str, object]:
    """Give one item back."""
    return item


def same_batch(batch: list[dict[str, object]]) -> list[dict[str, object]]:
    """Give a batch back."""
    return batch


def same_any(value: object) -> object:
    """Give anything back."""
    return value


def _tail(count: int, seed: int) -> list[float]:
    """Draw costs with a heavy tail, of 1 ms on average: most cost little, a few cost a lot."""
    draw = random.Random(seed)
    costs = [min(draw.paretovariate(1.2), 200.0) for _ in range(count)]
    mean = sum(costs) / count
    return [round(cost / mean, 4) for cost in costs]


# ms of CPU for each item.
COSTS = {"even": [1.0] * 4_000, **{f"tail-{seed}": _tail(1_000, seed) for seed in range(1, 8)}}


def burn(cost: float) -> float:
    """Use up ``cost`` ms of CPU."""
    end = time.thread_time() + cost / 1_000
    while time.thread_time() < end:
        pass
    return cost


def burn_batch(costs: list[float]) -> list[float]:
    """Use up the CPU of a batch."""
    return [burn(cost) for cost in costs]


def costs_of(tails: list[str]) -> list[list[float]]:
    """Give the costs, so that all measures have the same."""
    return [COSTS[tail] for tail in tails]


def numpy_batch(batch: list[float]) -> list[float]:
    """Add up a batch with NumPy."""
    import numpy as np

    return [float(np.sum(batch))] * len(batch)
