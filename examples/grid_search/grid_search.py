"""A grid search in which one candidate hangs and another eats memory: the others finish.

``python grid_search.py [--jobs N] [--limit SECONDS] [--memory MIB] [--only slither]``

Runs the search on Slither's backend for joblib, and on loky, joblib's own, beside it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import warnings
from typing import Any

import joblib
import numpy as np
from estimators import Classifier
from sklearn.datasets import load_digits
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV
from warden import Warden

STEADY = {"solver": ["steady"], "C": [0.001, 0.01, 0.1, 1.0]}
BAD = {"endless": {"solver": ["endless"]}, "greedy": {"solver": ["greedy"]}}
# Seconds after which a search that does not end is given up.
DEADLINE = 45


def search(bad: list[str]) -> GridSearchCV:
    """Return the search over what is steady and what is bad."""
    return GridSearchCV(Classifier(), [STEADY, *(BAD[name] for name in bad)], cv=2, refit=False)


def run(backend: str, bad: list[str], arguments: argparse.Namespace) -> int:
    """Search by one backend, print what came of it, and return the exit status."""
    data, target = load_digits(return_X_y=True)
    data, target = data[:600] / 16, target[:600]
    expected = search([]).fit(data, target).cv_results_["mean_test_score"]
    options: dict[str, Any] = {}
    if backend == "slither":
        import slither.joblib

        slither.joblib.register()
        options = {"call_timeout": arguments.limit}
    found = search(bad)
    began = time.monotonic()
    with (
        warnings.catch_warnings(record=True) as caught,
        Warden(arguments.memory << 20) as warden,
        joblib.parallel_config(backend=backend, n_jobs=arguments.jobs, **options),
    ):
        warnings.simplefilter("always")
        found.fit(data, target)
    took = time.monotonic() - began
    scores = found.cv_results_["mean_test_score"]
    right = int(np.sum(scores[: len(expected)] == expected))
    lost = int(np.sum(np.isnan(scores)))
    print(f"{right} of {len(expected)} steady candidates have their scores, after {took:.1f} s;")
    print(f"{lost} have none; {warden.killed} workers were killed for their memory")
    for told in {str(one.message) for one in caught if one.category is FitFailedWarning}:
        tell(told)
    return 0 if (right, lost) == (len(expected), len(bad)) else 1


def tell(warning: str) -> None:
    """Print what scikit-learn's warning says of each failure: the stack, and the cause."""
    for failure in warning.split("-" * 80)[1:]:
        frames = re.findall(r"estimators\.py\", line (\d+) in (\w+)", failure)
        print(f"\n  {failure.strip().splitlines()[0]}")
        for line, name in frames:
            print(f"  estimators.py:{line} in {name}")
        last = failure.strip().splitlines()[-1]
        print(f"  {last.removeprefix('slither._errors.')}")


def compare(arguments: argparse.Namespace) -> int:
    """Run the program for each backend, one after the other, and return the exit status."""
    status = 0
    runs = [("slither", ["endless", "greedy"])]
    if arguments.only != "slither":
        runs += [("loky", ["greedy"]), ("loky", ["endless"])]
    for backend, bad in runs:
        print(f"== {backend}, with a solver that is {' and one that is '.join(bad)}", flush=True)
        command = [sys.executable, *sys.argv, "--backend", backend, "--bad", *bad]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            _, words = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            print(f"it had not ended after {DEADLINE} s: all results are lost")
        else:
            if process.returncode and words:
                errors = re.findall(r"^[\w.]+Error: .*", words, re.MULTILINE)
                print(f"all results are lost: {(errors or words.splitlines())[-1][:200]}")
            if backend == "slither":
                status = process.returncode
        print(flush=True)
    return status


def main() -> int:
    """Run one backend where one is named, else all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=5.0, help="seconds for a fit")
    parser.add_argument("--memory", type=int, default=1024, help="MiB for a process")
    parser.add_argument("--only", choices=["slither"])
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    parser.add_argument("--bad", nargs="*", default=[], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.backend is None:
        return compare(arguments)
    return run(arguments.backend, arguments.bad, arguments)


if __name__ == "__main__":
    sys.exit(main())
