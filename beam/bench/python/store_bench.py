"""What Python pays for a read of shared state: tables and views, and two peers."""

import statistics
import time
from collections.abc import Callable

from slither import store, views

KEYS = [f"user:{n}" for n in range(100)]


def median(count: int, action: Callable[[], object]) -> float:
    """Return the median of ``count`` runs in µs."""
    times = []
    for _ in range(count):
        began = time.perf_counter_ns()
        action()
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1000


def slither(counts: list[int]) -> list[dict[str, float]]:
    """Measure within a worker."""
    features = store.table("bench_features")
    params = [{"key": key} for key in KEYS]
    return [
        {
            "table get": median(count, lambda: features["user:42"]),
            "view call": median(count, lambda: views.bench_lookup(key="user:42")),
            "table get_many of 100": median(count // 10, lambda: features.get_many(KEYS)),
            "view map of 100": median(count // 10, lambda: views.map("bench_lookup", params)),
        }
        for count in counts
    ]


def manager(count: int) -> float:
    """Measure a ``multiprocessing.Manager().dict()``."""
    from multiprocessing import Manager

    with Manager() as server:
        shared = server.dict({key: {"tier": "gold", "weight": 0.5} for key in KEYS})
        return median(count, lambda: shared["user:42"])


def redis(count: int, socket: str) -> float:
    """Measure a GET to a Redis server on a Unix socket."""
    from redis import Redis

    client = Redis(unix_socket_path=socket)
    for key in KEYS:
        client.set(key, b'{"tier": "gold", "weight": 0.5}')
    return median(count, lambda: client.get("user:42"))


if __name__ == "__main__":
    import sys

    if sys.argv[1] == "manager":
        print(manager(int(sys.argv[2])))
    else:
        print(redis(int(sys.argv[2]), sys.argv[3]))
