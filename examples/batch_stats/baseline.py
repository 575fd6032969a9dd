"""batch_stats in plain Python, three times."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from queue import SimpleQueue
from threading import Barrier, Lock, Thread

from baselines import Run
from welford import ZERO, DataSet, Stats, Total, combine, describe, expected, load, poisoned, same

CHUNK = 16
LIMIT = 0.75
"""Seconds that a chunk may take."""
EVERY = "every sound data set has its statistics"
EXACTLY = "exactly the poison is lost, each with its reason"
MERGED = "the merged mean and variance are those of one process"


class Outcome:
    """What became of the data sets."""

    def __init__(self) -> None:
        self.stats: dict[int, Stats] = {}
        self.lost: dict[int, str] = {}
        self.total: Total = ZERO

    def take(self, stats: Stats) -> None:
        self.stats[stats["number"]] = stats
        self.total = combine(self.total, (stats["count"], stats["mean"], stats["m2"]))


def unsafe_threaded(run: Run) -> None:
    """Threads that share the totals, as one writes them first."""

    # coordination: unsafe_threaded
    def everything(sets: list[DataSet], outcome: Outcome) -> None:
        def work(data: DataSet) -> None:
            try:
                outcome.take(describe(data))
            except Exception as error:
                outcome.lost[data["number"]] = str(error)

        with ThreadPoolExecutor(run.workers) as pool:
            run.started()
            list(pool.map(work, sets))

    # end of coordination
    _measure(run, everything)


def safe_python(run: Run) -> None:
    """Threads that take chunks from a queue, and put what they found under a lock."""

    # coordination: safe_python
    def everything(sets: list[DataSet], outcome: Outcome) -> None:
        tasks: SimpleQueue[list[DataSet] | None] = SimpleQueue()
        lock = Lock()
        ready = Barrier(run.workers + 1)

        def serve() -> None:
            ready.wait()
            while (chunk := tasks.get()) is not None:
                found = _work(chunk)
                with lock:
                    _collect(outcome, found)

        threads = [Thread(target=serve, daemon=True) for _ in range(run.workers)]
        for thread in threads:
            thread.start()
        ready.wait()
        run.started()
        for chunk in _chunks(sets):
            tasks.put(chunk)
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            thread.join()

    # end of coordination
    _measure(run, everything)


def process_pool(run: Run) -> None:
    """Processes that are replaced when they crash or hang; a chunk at fault is split."""

    # coordination: process_pool
    def everything(sets: list[DataSet], outcome: Outcome) -> None:
        todo = deque(_chunks(sets))
        suspects: deque[list[DataSet]] = deque()
        pool = _pool(run.workers)
        run.started()
        out: dict[Future[Found], tuple[list[DataSet], float]] = {}
        while todo or suspects or out:
            # A pool that breaks does not tell who did it: suspects run alone.
            while len(out) < (1 if suspects else run.workers) and (suspects or todo):
                chunk = (suspects or todo).popleft()
                try:
                    out[pool.submit(_work, chunk)] = chunk, time.monotonic() + LIMIT
                except BrokenProcessPool:
                    todo.appendleft(chunk)
                    break
            first = min(until for _, until in out.values())
            done, _ = wait(out, max(0.0, first - time.monotonic()), FIRST_COMPLETED)
            broken: list[list[DataSet]] = []
            for future in done:
                try:
                    _collect(outcome, future.result())
                    del out[future]
                except BrokenProcessPool:
                    broken.append(out.pop(future)[0])
            now = time.monotonic()
            late = [(f, chunk) for f, (chunk, until) in out.items() if until < now]
            if not broken and not late:
                continue
            # There is no public way to end a process of a pool.
            for process in list(pool._processes.values()):
                process.kill()
            pool.shutdown(wait=True, cancel_futures=True)
            pool = _pool(run.workers)
            run.restarts += 1
            for future, chunk in late:
                del out[future]
                _suspect(chunk, suspects, outcome, "took too long")
            others = [chunk for chunk, _ in out.values()]
            if late:
                todo.extendleft(broken + others)
            elif len(broken) + len(others) == 1:
                _suspect((broken + others)[0], suspects, outcome, "crashed")
            else:
                suspects.extend(broken + others)
            out.clear()
        pool.shutdown()

    # end of coordination
    _measure(run, everything)


# coordination: process_pool
def _pool(workers: int) -> ProcessPoolExecutor:
    # One whose processes are there: the time that a chunk may take is not theirs to spend.
    pool = ProcessPoolExecutor(workers)
    list(pool.map(abs, range(workers)))
    return pool


def _suspect(
    chunk: list[DataSet], suspects: deque[list[DataSet]], outcome: Outcome, reason: str
) -> None:
    if len(chunk) == 1:
        outcome.lost[chunk[0]["number"]] = reason
    else:
        middle = len(chunk) // 2
        suspects.extend([chunk[:middle], chunk[middle:]])


# end of coordination


# coordination: safe_python, process_pool
Found = list[tuple[int, Stats | None, str]]


def _chunks(sets: list[DataSet]) -> list[list[DataSet]]:
    return [sets[start : start + CHUNK] for start in range(0, len(sets), CHUNK)]


def _work(chunk: list[DataSet]) -> Found:
    found: Found = []
    for data in chunk:
        try:
            stats = describe(data)
        except Exception as error:
            found.append((data["number"], None, str(error)))
        else:
            sound = math.isfinite(stats["mean"])
            found.append((data["number"], stats if sound else None, "the mean is no number"))
    return found


def _collect(outcome: Outcome, found: Found) -> None:
    for number, stats, reason in found:
        if stats is None:
            outcome.lost[number] = reason
        else:
            outcome.take(stats)


# end of coordination


def _measure(run: Run, everything: Callable[[list[DataSet], Outcome], None]) -> None:
    run.promise(EVERY, EXACTLY, MERGED)
    sets = load(run.size)
    outcome = Outcome()

    def check() -> None:
        poison = set(poisoned(len(sets)))
        sound = {data["number"] for data in sets} - poison
        run.check(EVERY, sound <= outcome.stats.keys())
        run.check(EXACTLY, outcome.lost.keys() == poison)
        run.check(MERGED, same(outcome.total, expected(sets)))

    run.at_deadline(check)
    with run.measured():
        everything(sets, outcome)
    check()
