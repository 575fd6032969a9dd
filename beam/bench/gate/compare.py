"""Compares two checkouts: each measure of each, in alternation and in an order of chance.

Usage: ``compare.py BEFORE NOW ROUNDS [MEASURE...]``: folders of checkouts that are set up, and
the first words of measures, such as ``store``; all where none is given. It prints the medians and
their ratio, and ends with 1 where one takes more than 5 % longer now and the two spreads of the
middle half of the rounds lie apart, so that chance alone does not decide.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LIMIT = 1.05


class Side:
    """One checkout's measures: a VM and a Python program that stay for all rounds."""

    def __init__(self, folder: str) -> None:
        """Start both, and wait until they are ready."""
        env = {
            **os.environ,
            "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
            "MIX_ENV": "prod",
        }
        commands = [["mix", "run", str(HERE / "paths.exs")]]
        commands.append([f"{folder}/.venv/bin/python", str(HERE / "paths.py")])
        self.of: dict[str, subprocess.Popen[str]] = {}
        self.processes: list[subprocess.Popen[str]] = []
        for command in commands:
            process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=-1, stdout=-1, text=True, bufsize=1
            )
            self.processes.append(process)
            for name in self._ready(process):
                self.of[name] = process

    @staticmethod
    def _ready(process: subprocess.Popen[str]) -> list[str]:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("ready "):
                return line.removeprefix("ready ").strip().split(",")
        raise SystemExit("bench-gate: a side ended before it was ready")

    def measure(self, name: str) -> float:
        """Run one measure."""
        process = self.of[name]
        assert process.stdin
        assert process.stdout
        process.stdin.write(name + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    def close(self) -> None:
        """End both."""
        for process in self.processes:
            assert process.stdin
            process.stdin.close()
            process.wait()


def quarters(times: list[float]) -> tuple[float, float]:
    """Give the borders of the middle half."""
    low, _, high = statistics.quantiles(times, n=4)
    return low, high


def main(before: str, now: str, rounds: str, *wanted: str) -> int:
    """Compare, print, and tell by the exit status whether the speed has stayed."""
    sides = {"before": Side(before), "now": Side(now)}
    names = [name for name in sides["now"].of if name in sides["before"].of]
    names = sorted(name for name in names if not wanted or name.startswith(wanted))
    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(int(rounds) + 1):
        for name in random.sample(names, len(names)):
            for side in random.sample(sorted(sides), 2):
                taken = sides[side].measure(name)
                if turn:
                    times.setdefault((name, side), []).append(taken)
    for side in sides.values():
        side.close()
    slower = 0
    print(f"{'':32} {'before':>10} {'now':>10} {'ratio':>7}   (medians of {rounds})")
    for name in names:
        old, new = times[name, "before"], times[name, "now"]
        ratio = statistics.median(new) / statistics.median(old)
        missed = ratio > LIMIT and quarters(new)[0] > quarters(old)[1]
        slower += missed
        word = "SLOWER" if missed else "unclear" if ratio > LIMIT else ""
        medians = f"{statistics.median(old):10.3f} {statistics.median(new):10.3f}"
        print(f"{name:32} {medians} {ratio:7.3f}   {word}")
    print(f"\n{slower} of {len(names)} measures are more than 5 % slower")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
