"""Where the workers of a Beam run, and what each has alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pooled
import pytest

import slither
from slither._driver.placement import placement
from slither._driver.pool_options import pool_options


def test_workers_run_where_they_are_placed(escript: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    names = ("SLITHER_WORKER", "CUDA_VISIBLE_DEVICES", "PORT", "OMP_NUM_THREADS")
    with slither.Beam(
        2,
        each=lambda number: {"env": {"PORT": 9_000 + number}},
        gpus=["GPU-a", ["GPU-b", "GPU-c"]],
        cpus=[[cpu]],
        env={"CUDA_VISIBLE_DEVICES": None},
    ) as beam:
        found = {}
        # Sessions spread over the workers.
        for session in "ab":
            place = beam.submit_with(pooled.place, names, session=session).result()
            found[place[0]] = place
        assert found == {
            0: (0, [cpu], ["0", "GPU-a", "9000", "1"]),
            1: (1, [cpu], ["1", "GPU-b,GPU-c", "9001", "1"]),
        }
        status = beam.status()
        assert [worker.gpus for worker in status.workers] == [("GPU-a",), ("GPU-b", "GPU-c")]
        assert [worker.cpus for worker in status.workers] == [(cpu,), (cpu,)]
        assert status.notes == ()


def test_gpus_that_there_are_none_of_are_told(escript: Path) -> None:
    with slither.Beam(1, gpus="auto", env={"CUDA_VISIBLE_DEVICES": "-1"}) as beam:
        assert beam.submit(pooled.place, "CUDA_VISIBLE_DEVICES").result()[2] == ["-1"]
        status = beam.status()
        assert status.workers[0].gpus is None
        assert "gpus: :auto has found no GPU to share out" in str(status)


def test_what_is_not_there_is_refused_with_its_name(escript: Path) -> None:
    with pytest.raises(ValueError, match="option 'cpus' names cpus that there are not"):
        slither.Beam(1, cpus=[[8_000]])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"gpus": []}, "gpus is 'auto', or a list of GPUs"),
        ({"gpus": "all"}, "gpus is 'auto', or a list of GPUs"),
        ({"gpus": [True]}, "gpus is 'auto', or a list of GPUs"),
        ({"gpus": [[]]}, "gpus is 'auto', or a list of GPUs"),
        ({"gpus": ["a,b"]}, "gpus is 'auto', or a list of GPUs"),
        ({"cpus": [0, 1]}, "cpus is 'spread', or a list of lists"),
        ({"cpus": [[-1]]}, "cpus is 'spread', or a list of lists"),
        ({"each": []}, "each is a function of a worker's number, or a list"),
        ({"each": [{"env": {"A=B": "1"}}]}, r"each\[0\] is a dict of env"),
        ({"each": lambda _n: {"evn": {}}}, r"each\(0\) is a dict of env"),
        ({"each": lambda n: {"env": {"A": None if n else [1]}}}, r"each\(0\) is a dict of env"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_started(
    given: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        placement(**{"each": None, "gpus": None, "cpus": None, **given}, workers=2)


def test_a_function_is_called_for_each_worker_and_spare() -> None:
    asked: list[int] = []

    def each(number: int) -> dict[str, dict[str, str]]:
        asked.append(number)
        return {"env": {"N": str(number)}}

    assert len(placement(each, None, None, 3)["each"]) == 3
    assert asked == [0, 1, 2]


def test_they_are_arguments_of_the_beam_itself() -> None:
    with pytest.raises(TypeError, match="'gpus' is an argument of the Beam itself: gpus="):
        pool_options({"gpus": "auto"})
