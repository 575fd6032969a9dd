"""joblib's backend: what ``joblib.Parallel`` asks for, by a Beam.

The threads that call Parallel run it, and the Beam's relay as results come. Needs joblib.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    ThreadingBackend,
    cpu_count,
    register_parallel_backend,
)

from slither._joblib import beams, nested
from slither._joblib.arrays import Arrays
from slither._joblib.folder import Folder
from slither._joblib.jobs import Jobs
from slither._joblib.options import Options, options

_MEMORY = ("temp_folder", "max_nbytes", "mmap_mode")
# What Parallel passes to any backend, and this one has no use for.
_JOBLIB = ("prefer", "require", "verbose", "context")


def register(*, make_default: bool = False) -> None:
    """Give joblib the backend; in a worker, whose modules may ask for it, the worker's own."""
    if beams.in_worker():
        nested.register(make_default=make_default)
        return
    register_parallel_backend("slither", SlitherBackend, make_default=make_default)


class Memory(NamedTuple):
    """Where large arrays are written, from which size on, and how workers map them."""

    folder: str | None
    limit: int | None
    mode: str | None


class SlitherBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs the calls of ``joblib.Parallel`` in the workers of a Beam."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **given: Any,
    ) -> None:
        """Take the options that :func:`slither.joblib.register` tells of."""
        options(given)
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self.backend_kwargs = given
        self._workers: _Lease | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls run at once."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(cpu_count() + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **given: Any) -> int:
        """Take a Beam for a call of Parallel, or for the block that holds one."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if beams.in_worker():
            # A backend of another name, of a class derived from this one.
            raise FallbackToBackend(ThreadingBackend(nesting_level=self.nesting_level))
        memory = Memory(*(given.pop(name, None) for name in _MEMORY))
        for name in _JOBLIB:
            given.pop(name, None)
        found = options({**self.backend_kwargs, **given})
        self.parallel = parallel
        self._workers = _Lease(n_jobs, found, self._prepare_worker_env(n_jobs), memory)
        return n_jobs

    def start_call(self) -> None:
        """Begin a call."""

    def compute_batch_size(self) -> int:
        """Return how many calls go together: one where each has its own limit of time."""
        if self._workers is not None and self._workers.alone:
            return 1
        size: int = super().compute_batch_size()
        return size

    def submit(self, func: Any, callback: Any = None) -> Future[Any]:
        """Have a worker run a batch."""
        assert self._workers is not None
        future = self._workers.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit
    """What joblib before 1.5 calls it."""

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return a batch's results, or raise what failed it."""
        return out.result()

    def terminate(self) -> None:
        """End a call, or the block that held some; the workers stay for the next."""
        lease, self._workers = self._workers, None
        if lease is not None:
            lease.end()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the calls of this Parallel, with the workers that run them, and those alone."""
        lease = self._workers
        if lease is None:
            return
        if ensure_ready:
            self._workers = lease.renewed()
        else:
            self._workers = None
            lease.end()


class _Lease:
    """What one call of Parallel, or a block of them, has of a Beam: taken with the first job."""

    def __init__(
        self, n_jobs: int, given: Options, env: Mapping[str, str], memory: Memory
    ) -> None:
        self._n_jobs, self._given, self._memory = n_jobs, given, memory
        self._env = env
        self._lock = threading.Lock()
        self._kept: beams.Kept | None = None
        self._folder = Folder(memory.folder)
        self._jobs: Jobs | None = None
        self.alone = given.call_timeout is not None
        """Whether calls go to the workers one by one."""

    def submit(self, batch: Any) -> Future[Any]:
        with self._lock:
            if self._jobs is None:
                self._jobs = self._begin(batch)
        return self._jobs.submit(batch)

    def _begin(self, batch: Any) -> Jobs:
        given = self._given
        # A worker that starts imports what the calls need, so that none pays for it, in time that
        # may be limited; so does one that takes the place of another.
        modules = frozenset(name for call in batch.items for name in _modules(*call))
        options = {
            **given.beam,
            "env": {**self._env, **(given.beam.get("env") or {})},
            # A worker holds no call behind the one that it runs: joblib has batches take a while.
            "pool": {"window": 1, **(given.beam.get("pool") or {})},
        }
        self._kept = beams.take(
            self._n_jobs, options, given.initializer, modules, ready=self.alone
        )
        arrays = Arrays(self._folder, self._memory.limit, self._memory.mode)
        return Jobs(self._kept, self._folder, arrays, given.call_timeout, given.lost)

    def end(self) -> None:
        with self._lock:
            if self._jobs is not None:
                self._jobs.abort()
            self._folder.remove()
            if self._kept is not None:
                beams.give_back(self._kept, self._given.idle_worker_timeout)
            self._kept = None

    def renewed(self) -> _Lease:
        self.end()
        return _Lease(self._n_jobs, self._given, self._env, self._memory)


def _modules(function: Any, args: Any, kwargs: Any) -> Iterator[str]:
    """Yield the modules of a call's function, and of the classes of its arguments."""
    function = getattr(function, "func", getattr(function, "function", function))
    classes = [base for value in (*args, *kwargs.values()) for base in type(value).__mro__]
    for one in (function, *classes):
        module = getattr(one, "__module__", None)
        if isinstance(module, str) and module not in ("__main__", "builtins"):
            yield module
