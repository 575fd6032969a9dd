"""Single calls: their futures, their limits, their ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue

import driven
import pytest

import slither
from slither._driver import forks

PATIENCE = 60.0


def run(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "script.py"
    path.write_text("import os, sys, threading, time\nimport slither\n" + text)
    command = [sys.executable, str(path)]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def test_an_argument_is_read_when_it_is_submitted(beam: slither.Beam) -> None:
    row = {"a": 1}
    futures = []
    for n in range(50):
        row["a"] = n
        futures.append(beam.submit(driven.echo, row))
    assert [future.result() for future in futures] == [{"a": n} for n in range(50)]


def test_an_argument_that_cannot_be_read_fails_its_call_alone(beam: slither.Beam) -> None:
    values: list[object] = [1, memoryview(b"abcd")[::2], 2]
    futures = [beam.submit(driven.echo, value) for value in values]
    assert futures[0].result() == 1
    assert isinstance(futures[1].exception(), Exception)
    assert futures[2].result() == 2


def test_a_callback_may_use_the_beam(beam: slither.Beam) -> None:
    seen: list[object] = []
    done = threading.Event()

    def more(future: concurrent.futures.Future[int]) -> None:
        seen.append(beam.submit(driven.double, future.result()).result())
        seen.append(list(beam.map(driven.double, [1])))
        done.set()

    beam.submit(driven.double, 2).add_done_callback(more)
    assert done.wait(PATIENCE)
    assert seen == [8, [2]]


def test_a_callback_that_raises_or_waits_costs_the_others_nothing(
    beam: slither.Beam, caplog: pytest.LogCaptureFixture
) -> None:
    let = threading.Event()
    beam.submit(driven.double, 1).add_done_callback(lambda _future: let.wait(PATIENCE))
    raises = beam.submit(driven.double, 1)
    raises.add_done_callback(lambda _future: 1 / 0)
    assert [beam.submit(driven.double, n).result() for n in range(5)] == [0, 2, 4, 6, 8]
    assert list(beam.map(driven.double, [7])) == [14]
    let.set()
    raises.result(PATIENCE)
    beam._link.relay.drain(PATIENCE)
    assert "exception calling callback" in caplog.text


def test_shutdown_in_a_callback_raises_rather_than_waits_for_itself(beam: slither.Beam) -> None:
    told: list[BaseException] = []
    done = threading.Event()
    executor = slither.Executor(beam=beam)

    def end(_future: object) -> None:
        try:
            executor.shutdown(wait=True)
        except RuntimeError as error:
            told.append(error)
        done.set()

    executor.submit(driven.double, 1).add_done_callback(end)
    assert done.wait(PATIENCE)
    assert "done callback" in str(told)
    assert executor.submit(driven.double, 2).result() == 4


def test_each_future_of_a_beam_that_died_has_an_exception_of_its_own(escript: Path) -> None:
    beam = slither.Beam(workers=1)
    futures = [beam.submit(driven.hang, 600) for _ in range(4)]
    beam._link.child.kill()
    errors = [future.exception(PATIENCE) for future in futures]
    assert all(isinstance(error, slither.BeamDied) for error in errors)
    assert len(set(map(id, errors))) == 4
    assert futures[0].exception() is errors[0]


def test_a_call_is_limited_by_its_timeout(beam: slither.Beam) -> None:
    future = beam.submit_with(driven.hang, [600], timeout=0.2)
    with pytest.raises(slither.CallTimeout):
        future.result(PATIENCE)
    assert beam.submit_with(driven.keywords, [1], {"a": 2}).result() == [[1], {"a": 2}]
    with pytest.raises(ValueError, match="timeout is a number of seconds above 0"):
        beam.submit_with(driven.echo, [1], timeout=-1)
    with slither.Executor(beam=beam, timeout=0.2) as executor:
        assert isinstance(
            executor.submit(driven.hang, 600).exception(PATIENCE), slither.CallTimeout
        )


def test_a_call_that_runs_is_killed_and_costs_itself_alone(
    beam: slither.Beam, tmp_path: Path
) -> None:
    started, never = tmp_path / "started", tmp_path / "never"
    stuck = beam.submit(driven.wait_for, [str(started), str(never)])
    others = [beam.submit(driven.double, n) for n in range(20)]
    while not started.exists():
        os.sched_yield()
    assert stuck.running()
    assert stuck.kill()
    with pytest.raises(slither.CallKilled):
        stuck.result(PATIENCE)
    assert [future.result(PATIENCE) for future in others] == [2 * n for n in range(20)]
    assert not stuck.kill()
    with slither.Executor(beam=beam) as executor:
        future = executor.submit(driven.hang, 600)
        assert executor.kill(future)
        assert future.cancelled() or isinstance(future.exception(PATIENCE), slither.CallKilled)
        with pytest.raises(TypeError, match="future is one that submit"):
            executor.kill(concurrent.futures.Future())  # type: ignore[arg-type]


def test_calls_that_a_worker_holds_behind_one_that_runs_are_killed_with_it(
    beam: slither.Beam,
) -> None:
    calls = [beam.submit(driven.hang, 600) for _ in range(10)]
    # All but one of these are out, and each worker runs one.
    while sum(call.running() for call in calls) < 9:
        os.sched_yield()
    # Those that run first, so that the others lose their worker before they are told.
    for call in calls:
        assert call.kill()
    for call in calls:
        with pytest.raises((slither.CallKilled, concurrent.futures.CancelledError)):
            call.result(PATIENCE)
    assert beam.submit(driven.double, 4).result(PATIENCE) == 8


def test_calls_that_hold_up_others_are_named(escript: Path) -> None:
    with slither.Beam(workers=1, warn_after=0.2) as beam:
        told: SimpleQueue[logging.LogRecord] = SimpleQueue()
        handler = QueueHandler(told)
        logging.getLogger("slither").addHandler(handler)
        try:
            futures = [beam.submit(driven.hang, 600) for _ in range(2)]
            record = told.get(timeout=PATIENCE)
        finally:
            logging.getLogger("slither").removeHandler(handler)
        futures[0].kill()
        assert record.levelname == "WARNING"
        assert "1 calls wait while others run: driven.hang for" in record.getMessage()


def test_a_future_keeps_its_beam(escript: Path) -> None:
    future = slither.Beam(workers=1).submit(driven.double, 4)
    gc.collect()
    assert future.result(PATIENCE) == 8


def test_what_nobody_holds_is_finished(escript: Path, tmp_path: Path) -> None:
    executor = slither.Executor(1)
    paths = [str(tmp_path / name) for name in ("one", "two")]
    for path in paths:
        executor.submit(driven.wait_for, [path, path])
    link = executor._beam._link
    del executor
    gc.collect()
    assert link.finished.wait(PATIENCE)
    assert all(map(os.path.exists, paths))


def test_what_is_pending_at_the_end_of_the_program_is_finished(
    escript: Path, tmp_path: Path
) -> None:
    done = run(
        tmp_path,
        """
def write(path):
    time.sleep(0.2)
    open(path, "w").close()
if __name__ == "__main__":
    executor = slither.Executor(1)
    for name in ("one", "two", "three"):
        executor.submit(write, name)
    threading.Thread(target=lambda: executor.submit(write, "four")).start()
""",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all((tmp_path / name).exists() for name in ("one", "two", "three", "four"))


def test_what_is_pending_in_an_event_loop_is_finished(escript: Path) -> None:
    async def call() -> list[int]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(slither.Executor(1), driven.double, n) for n in range(3)]
        return await asyncio.gather(*calls)

    assert asyncio.run(call()) == [0, 2, 4]


def test_waiting_calls_are_cancelled_with_their_executor(beam: slither.Beam) -> None:
    executor = slither.Executor(beam=beam)
    futures = [executor.submit(driven.hang, 0.2) for _ in range(30)]
    executor.shutdown(cancel_futures=True)
    assert {future.done() for future in futures} == {True}
    assert any(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(driven.double, 1)
    assert beam.submit(driven.double, 1).result() == 2


def test_a_future_that_somebody_else_has_set_holds_up_nothing(
    beam: slither.Beam, tmp_path: Path
) -> None:
    let = tmp_path / "let"
    with slither.Executor(beam=beam) as executor:
        paths = [str(tmp_path / "begun"), str(let)]
        running = executor.submit(driven.wait_for, paths)
        waiting = [executor.submit(driven.wait_for, paths) for _ in range(100)]
        waiting[-1].set_result("1")
        while not (tmp_path / "begun").exists():
            os.sched_yield()
        running.set_result("2")
        let.touch()
        assert executor.submit(driven.double, 3).result(PATIENCE) == 6
    assert (running.result(0), waiting[-1].result(0)) == ("2", "1")


def test_futures_work_with_what_the_standard_library_has_for_them(beam: slither.Beam) -> None:
    futures = [beam.submit(driven.no_fives, n) for n in range(10)]
    done = concurrent.futures.wait(futures, PATIENCE, concurrent.futures.FIRST_EXCEPTION)[0]
    assert any(future.exception() for future in done)
    assert len(list(concurrent.futures.as_completed(futures, PATIENCE))) == 10

    async def wrapped() -> int:
        return await asyncio.wrap_future(beam.submit(driven.double, 3))

    assert asyncio.run(wrapped()) == 6


def test_a_fork_beside_our_threads_alone_is_not_warned_of(beam: slither.Beam) -> None:
    text = "This process (pid=1) is multi-threaded, use of fork() may lead to deadlocks"
    names = {thread.name for thread in threading.enumerate()}
    assert {"slither-reader", "slither-writer", "slither-relay"} <= names
    # Each test has filters of its own.
    forks.know(beam._link)
    assert warnings.filters[0] == forks.no_warning
    ours = forks.OfOurThreads()
    assert not ours.match("another warning")
    let = threading.Event()
    thread = threading.Thread(target=let.wait)
    thread.start()
    assert not ours.match(text)
    let.set()
    thread.join()


def test_a_few_slow_items_go_to_all_workers(beam: slither.Beam) -> None:
    pids: Callable[[float], int] = driven.slow_pid
    assert len(set(beam.map(pids, [0.3] * 4))) == 2


def test_long_frames_and_short_ones_of_many_threads_stay_whole(beam: slither.Beam) -> None:
    long = "x" * 600_000

    def ask(n: int) -> None:
        for size in range(15):
            text = long if (n + size) % 3 == 0 else "y" * size
            assert list(beam.map(driven.echo, [text, str(n)])) == [text, str(n)]
            assert beam.submit(driven.echo, text).result() == text

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, range(6)))
