"""What Python measures: one process that runs one measure for each line read.

Slither as a Python program drives it, and what that program would use instead. Each measure is
timed here, with its pool started and warm; its line of output is the answer.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool

from bench_items import CHUNK, COSTS, ITEMS, WORKERS, burn, items, same, same_any

Measure = Callable[[], object]


def chunks(values: list[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    """Cut a list into chunks."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


def joblib_map(data: list[dict[str, object]]) -> Measure:
    """Prepare joblib, with its own batching."""
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=WORKERS, batch_size=CHUNK)
    parallel.__enter__()
    return lambda: parallel(delayed(same)(item) for item in data)


def mpire_map(data: list[dict[str, object]]) -> Measure:
    """Prepare mpire."""
    from mpire import WorkerPool

    pool = WorkerPool(n_jobs=WORKERS, keep_alive=True)
    return lambda: pool.map(same, [(item,) for item in data], chunk_size=CHUNK)


def ray_map(data: list[dict[str, object]]) -> Measure:
    """Prepare an ActorPool of Ray, given chunks."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.util import ActorPool

    ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level="ERROR")

    @ray.remote
    class Actor:
        def same(self, chunk: list[dict[str, object]]) -> list[dict[str, object]]:
            return chunk

        def ready(self) -> bool:
            return True

    actors = [Actor.remote() for _ in range(WORKERS)]
    ray.get([actor.ready.remote() for actor in actors])
    pool = ActorPool(actors)
    return lambda: list(
        pool.map(lambda actor, chunk: actor.same.remote(chunk), list(chunks(data)))
    )


def beam_map(data: list[dict[str, object]]) -> Measure:
    """Prepare a Beam."""
    import slither

    beam = slither.Beam(workers=WORKERS)
    return lambda: list(beam.map(same, data, batch_size=CHUNK))


def throughput(name: str) -> Measure:
    """Prepare one way of sending the items there and back."""
    data = items(ITEMS)
    if name == "Pool.imap":
        pool = Pool(WORKERS)
        return lambda: list(pool.imap(same, data, CHUNK))
    if name == "Pool.map":
        pool = Pool(WORKERS)
        return lambda: pool.map(same, data, CHUNK)
    if name == "ProcessPoolExecutor.map":
        executor = ProcessPoolExecutor(WORKERS)
        return lambda: list(executor.map(same, data, chunksize=CHUNK))
    prepare = {
        "beam.map": beam_map,
        "joblib": joblib_map,
        "mpire": mpire_map,
        "Ray ActorPool": ray_map,
    }
    return prepare[name](data)


def payloads(kind: str, size: int, count: int) -> list[object]:
    """Make float64 arrays, or bytes, of ``size`` bytes."""
    import numpy as np

    if kind == "bytes":
        return [os.urandom(size) for _ in range(count)]
    return [np.random.default_rng(n).random(size // 8) for n in range(count)]


def payload_rate(name: str, kind: str, size: int, count: int) -> float:
    """Return how many MB a second go there and back, each payload in a call by itself."""
    data = payloads(kind, size, count)
    if name == "Pool.imap":
        with Pool(WORKERS) as pool:
            pool.map(same_any, data[:WORKERS], 1)
            return megabytes(data, size, lambda: list(pool.imap(same_any, data, 1)))
    if name == "Pool.map":
        with Pool(WORKERS) as pool:
            pool.map(same_any, data[:WORKERS], 1)
            return megabytes(data, size, lambda: pool.map(same_any, data, 1))
    if name == "ProcessPoolExecutor.map":
        with ProcessPoolExecutor(WORKERS) as executor:
            list(executor.map(same_any, data[:WORKERS]))
            return megabytes(data, size, lambda: list(executor.map(same_any, data)))
    if name == "joblib":
        from joblib import Parallel, delayed

        with Parallel(n_jobs=WORKERS, batch_size=1) as parallel:
            parallel(delayed(same_any)(value) for value in data[:WORKERS])
            return megabytes(
                data, size, lambda: parallel(delayed(same_any)(value) for value in data)
            )
    from mpire import WorkerPool

    with WorkerPool(n_jobs=WORKERS, keep_alive=True) as workers:
        workers.map(same_any, [(value,) for value in data[:WORKERS]], chunk_size=1)
        return megabytes(
            data,
            size,
            lambda: workers.map(same_any, [(value,) for value in data], chunk_size=1),
        )


def megabytes(data: list[object], size: int, measure: Measure) -> float:
    """Return MB a second."""
    began = time.perf_counter()
    measure()
    return len(data) * size / (time.perf_counter() - began) / 1e6


def imap_seconds(count: int, workers: int, chunk: int, size: int) -> float:
    """Return how long ``Pool.imap`` takes for so many items: dictionaries, or bytes of a size."""
    data: Iterator[object] = iter(items(count)) if size == 0 else iter([bytes(size)] * count)
    with Pool(workers) as pool:
        pool.map(same_any, range(workers), 1)
        began = time.perf_counter()
        for _ in pool.imap(same_any, data, chunk):
            pass
        return time.perf_counter() - began


def work_seconds(name: str, costs: list[float], workers: int) -> float:
    """Return how long a pool takes for work of so many ms for each item."""
    with Pool(workers) as pool:
        pool.map(burn, [0.0] * workers, 1)
        began = time.perf_counter()
        if name == "static":
            # One equal share for each worker, as a plain split gives.
            pool.map(burn, costs, -(-len(costs) // workers))
        else:
            pool.map(burn, costs)
        return time.perf_counter() - began


def rate(measure: Measure) -> float:
    """Return items a second, in thousands."""
    began = time.perf_counter()
    measure()
    return ITEMS / (time.perf_counter() - began) / 1000


def latency(count: int) -> dict[str, float]:
    """Return percentiles of ``Pool.apply`` in µs."""
    with Pool(1) as pool:
        item = items(1)[0]
        times = []
        for _ in range(count):
            began = time.perf_counter_ns()
            pool.apply(same, (item,))
            times.append((time.perf_counter_ns() - began) / 1000)
    cuts = statistics.quantiles(times, n=1000)
    return {"p50": cuts[499], "p99": cuts[989], "p99.9": cuts[998]}


def main() -> None:
    """Answer lines until the input ends."""
    ready: dict[str, Measure] = {}
    for line in sys.stdin:
        kind, name = line.rstrip("\n").split(" ", 1)
        if kind == "throughput":
            if name not in ready:
                ready[name] = throughput(name)
                ready[name]()
            print(rate(ready[name]), flush=True)
        elif kind == "payloads":
            name, form, size, count = name.rsplit(" ", 3)
            print(payload_rate(name, form, int(size), int(count)), flush=True)
        elif kind == "imap":
            print(imap_seconds(*map(int, name.split())), flush=True)
        elif kind == "work":
            name, workers, tail = name.split()
            print(work_seconds(name, COSTS[tail], int(workers)), flush=True)
        else:
            print(*latency(int(name)).values(), flush=True)


if __name__ == "__main__":
    main()
