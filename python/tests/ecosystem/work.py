"""Functions that clients of executors have workers run."""

from __future__ import annotations

import os
import time
from typing import Any


def power(base: int, exponent: int = 2, *, plus: int = 0) -> int:
    return int(base**exponent) + plus


def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def wait_for(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.001)
    return path


def pair(one: int, other: int) -> list[int]:
    return [one, other]


def fail(item: int) -> int:
    raise LookupError(f"no {item}")


def fail_odd(item: int) -> int:
    return fail(item) if item % 2 else item


def wait_between(began: str, go: str) -> None:
    open(began, "w").close()
    wait_for(go)


class Scale:
    """An object whose method is called."""

    def __init__(self, by: int) -> None:
        self.by = by

    def times(self, item: int) -> int:
        return self.by * item


def rosen(x: Any) -> float:
    return float(sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0))


def summary(part: Any) -> Any:
    return part.assign(share=part["n"] / part["n"].sum())
