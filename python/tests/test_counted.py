"""What BEAM counts of a program's runs: each item once, whatever becomes of it."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import driven
import pytest

import slither
from slither import Pipe

PATIENCE = 60.0


@pytest.fixture(scope="module")
def seen(escript: Path) -> Iterator[slither.Beam]:
    with slither.Beam(2, dashboard=True) as beam:
        yield beam


def metrics(beam: slither.Beam) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    with urllib.request.urlopen(f"{beam.dashboard}metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            read = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            assert read is not None, line
            name, labels, value = read.groups("")
            found[name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))] = float(value)
    return found


def outcomes(beam: slither.Beam, **labels: str) -> dict[str, float]:
    """What became of the items of a stage, once its runs are over.

    What a page shows may be a second old.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        counted: dict[str, float] = {}
        inside = False
        for (name, found), value in metrics(beam).items():
            of = dict(found)
            if labels.items() <= of.items():
                inside = inside or name == "slither_items_inside"
                if name == "slither_items_total":
                    counted[of["outcome"]] = counted.get(of["outcome"], 0) + value
        if counted and not inside:
            return counted
        assert time.monotonic() < deadline, "the run is not over"


def test_of_a_map_each_item_is_counted_once(seen: slither.Beam) -> None:
    got = list(seen.map(divmod, [4] * 10, [2, 0] * 5, on_error="return", batch_size=3))
    assert len(got) == 10
    counted = outcomes(seen, stage="builtins.divmod")
    assert counted == {"ok": 5, "skipped": 5, "failed": 0, "routed": 0}
    labels = {("pipe", ""), ("stage", "builtins.divmod"), ("reason", "python_exception")}
    assert metrics(seen)["slither_item_errors_total", frozenset(labels)] == 5


def test_of_a_map_that_is_closed_early_nothing_is_left_out(seen: slither.Beam) -> None:
    results = seen.map(driven.double, range(1_000), batch_size=7)
    next(results)
    results.close()
    counted = outcomes(seen, stage="driven.double")
    assert counted["ok"] >= 1
    assert counted["skipped"] == counted["routed"] == 0
    # All that was fed, batch by batch.
    assert 7 <= sum(counted.values()) <= 1_000
    assert sum(counted.values()) % 7 in (0, 1_000 % 7)


def test_of_a_pipe_each_stage_counts_its_items(seen: slither.Beam) -> None:
    pipe = Pipe("counted").python("twice", driven.double).python("again", driven.double)
    outputs = seen.run(pipe, range(10))
    assert list(outputs["default"]) == [4 * n for n in range(10)]
    for stage in ("twice", "again"):
        assert outcomes(seen, pipe="counted", stage=stage)["ok"] == 10
