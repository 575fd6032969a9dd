"""What a Beam's pool does now, as a program reads it and as it prints."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import driven
import pytest

import slither
from slither import RunningCall, Status, WorkerStatus


def until(beam: slither.Beam, so: Callable[[Status], object]) -> Status:
    """Look until it is so, or the test's own time is over."""
    while not so(found := agreeing(beam.status())):
        pass
    return found


def agreeing(status: Status) -> Status:
    """What holds of every status, at whatever moment it is asked for."""
    running = [worker for worker in status.workers if worker.runs is not None]
    assert len(running) <= status.busy <= len(status.workers)
    assert status.ready == sum(worker.status == "ready" for worker in status.workers)
    assert (status.queue == 0) == (status.oldest_wait is None)
    assert 0 <= status.busy_share <= 1
    return status


class TestABeam:
    def test_at_rest_has_ready_workers_and_nothing_else(self, beam: slither.Beam) -> None:
        beam.submit(driven.echo, 1).result()
        status = until(beam, lambda found: found.ready == 2)
        assert (status.size, status.busy, status.queue, status.error) == (2, 0, 0, None)
        assert (status.oldest_wait, status.since_free) == (None, None)
        for worker in status.workers:
            assert worker.status == "ready"
            assert worker.runs is None
            assert worker.pid
            assert worker.age is not None
            assert worker.age >= 0

    def test_names_what_runs_and_what_waits(self, escript: Path, tmp_path: Path) -> None:
        begun, go = str(tmp_path / "begun"), str(tmp_path / "go")
        with slither.Beam(workers=1) as beam:
            held = beam.submit_with(driven.wait_for, [[begun, go]], timeout=50.0)
            status = until(beam, lambda found: found.busy and os.path.exists(begun))
            runs = status.workers[0].runs
            assert runs is not None
            assert (runs.call, runs.pipe, runs.stage) == ("driven.wait_for", None, None)
            assert (runs.items, runs.attempt, runs.stalled) == (1, 1, False)
            assert runs.deadline is not None
            assert 0 < runs.since + runs.deadline <= 50.001
            waiting = [beam.submit(driven.echo, n) for n in range(5)]
            status = until(beam, lambda found: found.queue)
            assert status.oldest_wait is not None
            assert status.since_free is not None
            assert status.oldest_wait <= status.since_free
            later = until(beam, lambda found: (found.oldest_wait or 0) > 0.05)
            assert later.busy_share > 0
            assert later.busy_time >= 0.05
            assert "driven.wait_for" in str(later)
            assert "; no worker free for " in str(later)
            assert "calls wait (at most 10,000), the first for " in str(later)
            open(go, "w").close()
            assert held.result() == begun
            assert [future.result() for future in waiting] == list(range(5))
            status = until(beam, lambda found: not found.queue and not found.busy)
            assert status.workers[0].served >= 2

    def test_names_the_pipe_and_the_stage(self, beam: slither.Beam, tmp_path: Path) -> None:
        begun, go = str(tmp_path / "begun"), str(tmp_path / "go")
        pipe = slither.Pipe("watched").python("wait", driven.wait_for)
        reader = ThreadPoolExecutor(1)
        outputs = reader.submit(beam.run, pipe, [[begun, go]])
        running = until(beam, lambda found: any(worker.runs for worker in found.workers))
        [runs] = [worker.runs for worker in running.workers if worker.runs]
        assert (runs.pipe, runs.stage, runs.items) == ("watched", "wait", 1)
        assert "driven.wait_for (watched/wait)" in str(running)
        open(go, "w").close()
        assert list(outputs.result()["default"]) == [begun]
        reader.shutdown()

    def test_has_the_last_lines_of_its_workers(self, escript: Path) -> None:
        with slither.Beam(workers=1) as beam:
            beam.submit(driven.say, "word").result()
            status = until(beam, lambda found: len(found.workers[0].said) >= 3)
            assert set(status.workers[0].said) == {
                ("info", "out word"),
                ("warning", "err word"),
                ("warning", "log word"),
            }

    def test_counts_a_worker_that_died(self, escript: Path) -> None:
        with slither.Beam(workers=1) as beam:
            beam.wait_ready()
            pid = beam.status().workers[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            status = until(beam, lambda found: found.started == 2 and found.ready)
            assert status.died == 1
            assert status.workers[0].pid != pid
            assert "1 died" in str(status)

    def test_says_why_no_worker_starts(self, escript: Path) -> None:
        with slither.Beam(workers=2, preload=["no_such_module"]) as beam:
            status = until(beam, lambda found: found.error)
            assert status.error is not None
            assert "no_such_module" in status.error
            assert (status.ready, status.busy) == (0, 0)
            assert "no worker can start: " in str(status)


def test_a_status_says_what_became_of_items_and_where_the_time_went(escript: Path) -> None:
    with slither.Beam(workers=2) as beam:
        assert beam.status().stages == {}
        results = beam.map(driven.no_fives, range(40), batch_size=10, on_error="skip")
        assert len(list(results)) == 36
        pipe = slither.Pipe("numbers").python("double", driven.double)
        assert len(list(beam.run(pipe, range(8))["default"])) == 8
        stages = beam.status().stages
        assert set(stages) == {"driven.no_fives", "numbers/double"}
        called = stages["driven.no_fives"]
        assert (called.items, called.batches, called.skipped) == (40, 4, 4)
        assert called.errors == {"python_exception": 4}
        assert called.times["handler"] >= 0
        assert called.times["wire"] > 0
        assert called.p50 is not None
        assert called.p95 is not None
        assert called.p50 <= called.p95
        assert stages["numbers/double"].items == 8
        assert "\nnumbers/double " in str(beam.status())


def test_a_status_is_read_by_name_as_before(beam: slither.Beam) -> None:
    status = beam.status()
    assert status["size"] == 2
    assert [worker["calls"] for worker in status["workers"]] == [0, 0]
    assert {"size", "queue", "started", "died", "error", "workers"} <= set(dict(status))
    with pytest.raises(KeyError, match="no_such"):
        status["no_such"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.size = 3  # type: ignore[misc]


TABLE = """\
2 of 3 workers busy (71 % of the last 10 s), 2 ready, 1 died; no worker free for 41 s
1,200 calls wait (at most 10,000), the first for 42 s
worker  pid  state     runs                       items  since    left  served   memory        age
     0  471  ready     m.f (rank/score)              64   41 s       -   1,700  120 MiB       45 s
     1  472  ready     m.f, waits for its reader     64   41 s  250 ms       3  1.5 GiB  2 h 1 min
    10    -  starting  -                              -      -       -       0        -          -
"""


def test_a_status_prints_as_a_table() -> None:
    runs = RunningCall("m.f", pipe="rank", stage="score", items=64, since=41.2)
    hung = dataclasses.replace(runs, pipe=None, stage=None, deadline=0.25, stalled=True)
    status = Status(
        size=3,
        ready=2,
        busy=2,
        busy_share=0.714,
        queue=1_200,
        max_queue=10_000,
        oldest_wait=42.0,
        since_free=41.2,
        died=1,
        workers=(
            WorkerStatus(0, "ready", 471, served=1_700, rss=120 << 20, age=45.0, runs=runs),
            WorkerStatus(1, "ready", 472, served=3, rss=3 << 29, age=7_300.0, runs=hung),
            WorkerStatus(10, "starting"),
        ),
    )
    assert f"{status}\n" == TABLE


def test_a_pool_without_workers_prints_its_error() -> None:
    text = str(Status(size=2, error="no python3"))
    assert text == (
        "0 of 2 workers busy (0 % of the last 10 s), 0 ready\n"
        "no call waits\n"
        "no worker can start: no python3"
    )
