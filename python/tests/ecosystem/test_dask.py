"""dask's collections, with an Executor as their scheduler."""

from __future__ import annotations

import operator
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from dask import delayed
from dask.callbacks import Callback

import slither


class Pair:
    """What the protocol has no type for."""

    def __init__(self, left: object, right: object) -> None:
        self.both = left, right

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pair) and self.both == other.both

    def __hash__(self) -> int:
        return hash(self.both)


def numbers() -> Any:
    return da.arange(40_000, chunks=7_000).reshape(200, 200).rechunk((50, 80)) / 7


def frame() -> Any:
    rows = pd.DataFrame(
        {
            "n": range(100),
            "word": ["x", "y", None, "zz"] * 25,
            "when": pd.date_range("2024-01-01", periods=100, tz="Europe/Berlin"),
            "kind": pd.Categorical(["a", "b"] * 50),
        }
    )
    return dd.from_pandas(rows, npartitions=4)


def words() -> Any:
    return db.from_sequence(
        ["to", "be", "or", "not", "to", "be", "that", "is", "the", "question"], npartitions=3
    )


# Each is made anew where it runs, as a module that is imported should compute nothing.
# ruff: noqa: PLW0108
PROGRAMS: dict[str, Callable[[], Any]] = {
    "array, mean": lambda: numbers().mean(),
    "array, by axes": lambda: (numbers() + numbers().T).std(axis=0),
    "array, of linear algebra": lambda: da.linalg.svd(numbers().rechunk((50, 200)))[1],
    "array, of blocks": lambda: numbers().map_blocks(lambda block: block[::2] * 2, dtype=float),
    "array, of texts": lambda: da.from_array(np.array(["a", "bc", "d"]), chunks=2) + "!",
    "array, of dates": lambda: da.arange(5, chunks=2).astype("M8[s]").max(),
    "bag, filtered": lambda: words().filter(lambda word: "t" in word).map(len).sum(),
    "bag, frequencies": lambda: words().frequencies(sort=True),
    "bag, folded": lambda: words().foldby(len, lambda count, _word: count + 1, 0),
    "bag, of tuples": lambda: words().map(lambda word: (word, {word[0]}, Pair(word, 1))),
    "bag, grouped": lambda: words().groupby(len).starmap(lambda _size, group: len(group)),
    "delayed": lambda: delayed(Pair)(delayed(operator.add)(1, 2), [delayed(abs)(-2)]),
    "delayed, a closure": lambda: delayed(lambda x: np.int8(x))(3),
    "frame, whole": frame,
    "frame, grouped": lambda: frame().groupby("kind", observed=True).n.agg(["sum", "max"]),
    "frame, by words": lambda: frame().word.value_counts(),
    "frame, indexed": lambda: frame().set_index("n").kind.isin(["b"]),
    "frame, merged": lambda: frame().merge(frame(), on="n").n.sum(),
    "frame, of partitions": lambda: frame().map_partitions(
        lambda part: part.assign(m=part.n * 2)
    ),
    "frame, described": lambda: frame()[["n"]].describe(),
}


@pytest.fixture(scope="module")
def executor(escript: Path) -> Iterator[slither.Executor]:
    with slither.Executor(max_workers=2) as started:
        yield started


def same(one: object, other: object) -> bool:
    if isinstance(one, pd.DataFrame | pd.Series):
        return type(one) is type(other) and one.sort_index().equals(other.sort_index())  # type: ignore[attr-defined]
    if isinstance(one, np.ndarray):
        return type(one) is type(other) and one.dtype == other.dtype and (one == other).all()
    if isinstance(one, list):
        return isinstance(other, list) and sorted(map(repr_of, one)) == sorted(
            map(repr_of, other)
        )
    return type(one) is type(other) and one == other


def repr_of(value: object) -> str:
    if isinstance(value, tuple):
        return repr([repr_of(part) for part in value])
    return repr(value.both) if isinstance(value, Pair) else repr(value)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_gives_what_it_gives_without(
    executor: slither.Executor, program: Callable[[], Any]
) -> None:
    made = program()
    plain = made.compute(scheduler="sync")
    assert same(plain, made.compute(scheduler=executor))
    with dask.config.set(pool=executor, scheduler="threads"):
        assert same(plain, program().compute())


def test_as_many_calls_are_out_as_there_are_workers(executor: slither.Executor) -> None:
    assert executor._max_workers == 2
    out: list[int] = []
    with Callback(pretask=lambda _key, _dsk, state: out.append(len(state["running"]))):
        found = dask.compute(*(delayed(abs)(-n) for n in range(40)), scheduler=executor)
    assert found == tuple(range(40))
    assert max(out) == 2


def test_calls_run_in_the_workers(executor: slither.Executor) -> None:
    pids = dask.compute(*(delayed(os.getpid)() for _ in range(8)), scheduler=executor)
    assert os.getpid() not in pids
    assert set(pids) <= {worker["pid"] for worker in executor._beam.status()["workers"]}


def test_the_exception_of_a_call_is_raised(executor: slither.Executor) -> None:
    with pytest.raises(ZeroDivisionError):
        (delayed(lambda x: 1 / x)(0) + 1).compute(scheduler=executor)


def test_a_worker_that_dies_is_named(executor: slither.Executor) -> None:
    with pytest.raises(slither.WorkerDied, match="signal 9"):
        delayed(lambda: os.kill(os.getpid(), signal.SIGKILL))().compute(scheduler=executor)
    assert delayed(abs)(-1).compute(scheduler=executor) == 1


def test_the_guides_program_runs(escript: Path, tmp_path: Path) -> None:
    text = (ROOT / "guides" / "values.md").read_text()
    found = re.search(r"^```python\n(# sums\.py\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    (tmp_path / "sums.py").write_text(found[1])
    command = [sys.executable, "sums.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "499999500000\n", done.stderr
