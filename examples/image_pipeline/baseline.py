"""image_pipeline in plain Python, three times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from queue import Queue
from threading import Barrier, Lock, Thread

from baselines import Run
from photographs import (
    Box,
    Picture,
    Thumbnail,
    boxes,
    contact_sheet,
    expected,
    frames,
    photographs,
    thumbnail,
)

EVERY = "every frame has its thumbnail, in its order"
SAME = "the thumbnails are those of one process, pixel for pixel"


def unsafe_threaded(run: Run) -> None:
    """Threads that take frames as fast as they come."""

    # coordination: unsafe_threaded
    def everything(pictures: list[Picture], cuts: list[Box]) -> list[Thumbnail]:
        with ThreadPoolExecutor(run.workers) as pool:
            run.started()
            # It looks lazy; but map() takes in all frames before it returns.
            return list(pool.map(thumbnail, frames(pictures, cuts)))

    # end of coordination
    _measure(run, everything)


def safe_python(run: Run) -> None:
    """Threads that take frames from a queue with few places."""

    # coordination: safe_python
    def everything(pictures: list[Picture], cuts: list[Box]) -> list[Thumbnail]:
        tasks: Queue[tuple[int, Picture] | None] = Queue(run.workers)
        found: dict[int, Thumbnail] = {}
        lock = Lock()
        ready = Barrier(run.workers + 1)

        def serve() -> None:
            ready.wait()
            while (task := tasks.get()) is not None:
                number, frame = task
                small = thumbnail(frame)
                with lock:
                    found[number] = small

        threads = [Thread(target=serve) for _ in range(run.workers)]
        for thread in threads:
            thread.start()
        ready.wait()
        run.started()
        for task in enumerate(frames(pictures, cuts)):
            tasks.put(task)
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            thread.join()
        return [found[number] for number in sorted(found)]

    # end of coordination
    _measure(run, everything)


def process_pool(run: Run) -> None:
    """Processes that are sent few frames at a time."""

    # coordination: process_pool
    def everything(pictures: list[Picture], cuts: list[Box]) -> list[Thumbnail]:
        found: list[Thumbnail] = []
        out: deque[Future[Thumbnail]] = deque()
        with ProcessPoolExecutor(run.workers) as pool:
            list(pool.map(abs, range(run.workers)))
            run.started()
            for frame in frames(pictures, cuts):
                if len(out) == 2 * run.workers:
                    found.append(out.popleft().result())
                out.append(pool.submit(thumbnail, frame))
            found += [future.result() for future in out]
        return found

    # end of coordination
    _measure(run, everything)


def _measure(run: Run, everything: Callable[[list[Picture], list[Box]], list[Thumbnail]]) -> None:
    run.promise(EVERY, SAME)
    pictures = photographs()
    cuts = boxes(pictures, run.size)
    with run.measured():
        thumbnails = everything(pictures, cuts)
        contact_sheet(thumbnails)
    run.check(EVERY, len(thumbnails) == len(cuts))
    run.check(SAME, thumbnails == expected(pictures, cuts))
