"""The paths of a Python program's Beam, one measure for each line that is asked on stdin.

``scripts/bench-gate`` runs this in two checkouts and compares, so it uses nothing but public
names that both have. Times are in ms, those of single calls in µs.
"""

from __future__ import annotations

import gc
import operator
import sys
import time
from collections.abc import Callable

import slither

Measure = Callable[[], float]


def ms(action: Callable[[], object]) -> Measure:
    """Measure one run of ``action``."""

    def measure() -> float:
        gc.collect()
        start = time.perf_counter()
        action()
        return (time.perf_counter() - start) * 1e3

    return measure


def us(count: int, action: Callable[[], object]) -> Measure:
    """Measure a run of ``action`` as one of ``count``."""
    many = ms(lambda: [action() for _ in range(count)])
    return lambda: many() * 1e3 / count


def main() -> None:
    """Answer what is asked until stdin ends."""
    with slither.Beam(workers=2) as beam:
        beam.wait_ready()
        rows = [{"id": n, "text": "abc", "score": 0.5} for n in range(20_000)]
        table = beam.store("gate")
        table["a"] = 1

        def submit() -> None:
            for future in [beam.submit(operator.neg, n) for n in range(2_000)]:
                future.result()

        measures: dict[str, Measure] = {
            "throughput beam.map ints": ms(lambda: list(beam.map(operator.neg, range(50_000)))),
            "throughput beam.map rows": ms(lambda: list(beam.map(dict, rows))),
            "throughput submit and result": us(
                500, lambda: beam.submit(operator.neg, 1).result()
            ),
            "throughput submit 2k": ms(submit),
            "store table of a program": us(1_000, lambda: table["a"]),
        }
        print("ready", ",".join(measures), flush=True)
        for line in sys.stdin:
            print(measures[line.strip()](), flush=True)


if __name__ == "__main__":
    main()
