"""joblib's calls by Slither's backend and by loky, both warm: ms for each measure and round.

``python bench_joblib.py ROUNDS`` prints a name, a tab and a number for each; ``joblib.exs`` asks.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

import slither.joblib

WORKERS = 2
BACKENDS = ("slither", "loky")


def search() -> None:
    """Fit 24 small trees, as a search over settings does."""
    data, target = load_digits(return_X_y=True)
    settings = {"max_depth": [2, 4, 6, 8], "min_samples_leaf": [1, 5]}
    GridSearchCV(DecisionTreeClassifier(random_state=0), settings, cv=3).fit(data, target)


def forest() -> None:
    """Fit and ask a forest, whose trees share one array."""
    data, target = load_digits(return_X_y=True)
    RandomForestClassifier(60, n_jobs=WORKERS, random_state=0).fit(data, target)


def small() -> None:
    """Make 2,000 calls of next to nothing."""
    Parallel()(delayed(abs)(n) for n in range(2_000))


def single() -> None:
    """Make two calls and wait for them: what a call of Parallel costs."""
    Parallel()(delayed(abs)(n) for n in range(2))


LARGE = np.ones((8, 2_000_000))


def total(array: Any, row: int) -> float:
    """Add up a row."""
    return float(array[row].sum())


def arrays() -> None:
    """Give one array of 128 MB to 8 calls."""
    Parallel()(delayed(total)(LARGE, row) for row in range(8))


def results() -> None:
    """Get 16 arrays of 8 MB."""
    Parallel()(delayed(np.ones)(1_000_000) for _ in range(16))


def lambdas() -> None:
    """Make 200 calls of a closure, with an object each."""
    add = 3
    Parallel()(delayed(lambda pair: pair[0] + add)((n, {n})) for n in range(200))


MEASURES: dict[str, Callable[[], None]] = {
    "GridSearchCV, 24 fits": search,
    "a forest of 60 trees": forest,
    "2,000 calls of nothing": small,
    "one call of Parallel": single,
    "128 MB for 8 calls": arrays,
    "16 results of 8 MB": results,
    "200 calls of a closure": lambdas,
}


def main(rounds: int) -> None:
    """Run each measure once in each round, in an order of chance; the first round is not told."""
    warnings.simplefilter("ignore")
    slither.joblib.register()
    runs = [(name, backend) for name in MEASURES for backend in BACKENDS]
    for number in range(rounds + 1):
        random.shuffle(runs)
        for name, backend in runs:
            with joblib.parallel_config(backend=backend, n_jobs=WORKERS):
                began = time.perf_counter()
                MEASURES[name]()
                took = 1_000 * (time.perf_counter() - began)
            if number:
                print(f"{name}, {backend}\t{took:.3f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
