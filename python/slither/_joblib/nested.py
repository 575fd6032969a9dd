"""joblib's backend in a worker, which has no workers of its own: its threads.

A worker's main thread registers it, and whatever calls Parallel in the worker runs it.
"""

from __future__ import annotations

from joblib.parallel import ThreadingBackend, register_parallel_backend


class SlitherBackend(ThreadingBackend):  # type: ignore[misc]
    """Runs the calls of a ``joblib.Parallel`` that names the backend in a job."""

    supports_inner_max_num_threads = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **_options: object,
    ) -> None:
        """Take what a program's own would; there is nothing to set."""
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)


def register(*, make_default: bool = False) -> None:
    """Have joblib find it under the name that the program's has."""
    register_parallel_backend("slither", SlitherBackend, make_default=make_default)
