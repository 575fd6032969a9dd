"""A BEAM of one's own: started with the program, driven by it, and gone with it.

The public class ``slither.Beam``: any thread of the program may use it. What its methods begin
runs in the thread that asks for the results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Literal

from slither import _options
from slither._driver import dashboards, search, settings
from slither._driver.blobs import Blob, put
from slither._driver.by_value import ByValue, Functions
from slither._driver.dashboards import Dashboard
from slither._driver.functions import main_module
from slither._driver.gathers import Gathers
from slither._driver.maps import Maps
from slither._driver.pipes import Pipes
from slither._driver.placement import Cpus, Each, Gpus, placement
from slither._driver.pool_options import PoolOptions, pool_options
from slither._driver.settings import StrPath, TraceOptions
from slither._driver.singles import Singles
from slither._driver.tables import Tables
from slither._driver.values import Streams
from slither._errors import BeamError
from slither._seal import secret
from slither._types import Payload
from slither._worker import current

if TYPE_CHECKING:
    from slither.store import Table

_START = _options.either(_options.words("fork", "spawn"), None)


class Beam(Maps, Pipes, Singles, Streams, Gathers):
    """BEAM as a child of this program, with a pool of Python workers.

    ::

        with slither.Beam(workers=4) as beam:
            for result in beam.map(score, rows):
                print(result)

    It starts at once, and its workers in parallel behind it; they import functions by module and
    name, so a script keeps what starts a Beam under ``if __name__ == "__main__":``. Leaving the
    block ends everything in order; so does the end of the program, however it comes. What workers
    print and log comes out here, while this program waits for results.

    Arguments:

    - ``workers``: processes in the pool, 1 to 1,000; by default one for each core. With a pair,
      as ``(1, 8)``, it begins with the least, grows while calls wait for a worker, up to the
      most, and lets go of workers that have nothing to do: see ``grow_after`` and ``idle`` of
      ``pool``;
    - ``python``: the workers' interpreter; by default this one;
    - ``preload``: modules to import when a worker starts;
    - ``paths``: folders to search before the others; this program's own ``sys.path`` comes by
      itself, in its order, so that workers import what it imports;
    - ``env``: environment variables for the workers, None to remove one; a ``PYTHONPATH`` is
      searched after ``paths``;
    - ``cwd``: the workers' folder;
    - ``initializer``, ``initargs``: a function that each worker calls when it starts;
    - ``start``: how workers start: ``"spawn"``, an interpreter for each; or ``"fork"``, from one
      process that has imported ``preload`` and run the ``@on_template`` hooks, so that they are
      ready at once and share its memory (Linux). By default they are forked, unless there are
      ``each`` or ``gpus``, which what is imported may read;
    - ``gpus``: GPUs to share out, of which each worker gets one as ``CUDA_VISIBLE_DEVICES``: a
      list of numbers or names, or of lists of them, or ``"auto"`` for all there are. Where that
      variable is set already, it says which there are, and numbers count those;
    - ``cpus``: cpus to share out, a list or range of them for each worker to run on, or
      ``"spread"`` to divide those that BEAM may use; numerical libraries get as many threads;
    - ``each``: variables of each worker's own: a function of a number that returns
      ``{"env": {…}}``, or a list of such dicts. The function is called here and now, for 0 up to
      ``workers`` and ``spare`` together; a worker has one that the fewest others have.
      ``slither.worker.context().worker`` is its number, ``SLITHER_WORKER`` in its environment;
    - ``startup_timeout``: seconds a worker may take to start, imports included, or None;
    - ``pool``: further options of the pool by their names on BEAM, with times in seconds, such
      as ``max_requests``, ``max_rss`` (bytes) or ``max_age`` after which a worker is replaced,
      ``max_memory`` (bytes), beyond which it is killed, and its call has a
      :class:`slither.MemoryExceeded`, ``rlimits`` that the system holds it to, as
      ``{"as": 4 << 30, "nofile": (1_024, 4_096)}``,
      ``spare`` workers that wait to take the place of one that dies, ``grow_after``, the time
      that a call may wait before a pool of a pair of ``workers`` grows, and ``idle``, the time
      after which it does without a worker that has no call, ``cancel_grace``, the time
      that a call may go on when nobody waits for it any more, ``log_level``, the
      least that workers send of what they log and print ("debug", …, "none"),
      ``capture_failures``, a folder for batches that fail (see :mod:`slither.replay`);
    - ``shutdown_timeout``: seconds that :meth:`close` waits before it kills; the stop hooks of
      workers have a third of it;
    - ``warn_after``: seconds after which a submitted call that runs while others wait for a
      worker is named in a warning of the logger ``slither``; None for never;
    - ``trace``: where the spans of calls go, by OTLP over HTTP: the URL of a receiver, a dict of
      ``endpoint``, ``headers``, ``service`` (its name) and ``sample`` (the part of calls, 0 to 1,
      that begin a trace where nothing is traced), or True for one on this machine; False for
      none. By default BEAM asks the environment (``OTEL_EXPORTER_OTLP_ENDPOINT``). A call is
      below the current span of ``opentelemetry``, where the program has one;
    - ``by_value``: whether functions that workers can't import, such as lambdas, closures,
      methods of objects and what is defined in a notebook, and objects of any kind, go to them
      and come back as pickles, signed with a secret that this program and its workers have; it
      needs ``cloudpickle`` (``pip install 'slither-beam[pickle]'``);
    - ``dashboard``: True for a page on which one sees what flows, what waits and what fails, on
      port 4040 of this machine or the next that is free; or a port, which must be free; or a dict
      of options, see :class:`slither.DashboardOptions`. ``beam.dashboard`` is its address, told
      on stderr, or in the log where the logger ``slither`` shows ``INFO``;
    - ``watch``: for development: True to replace the workers, between calls and without losing
      any, when a file of the project changes that one of them has imported; the logger
      ``slither.beam`` says which, at level ``INFO``. This program itself goes on with what it has
      imported, its script among it.

    Raises :class:`slither.BeamMissing` where Erlang is not installed, with how to get it.
    """

    def __init__(
        self,
        workers: int | tuple[int, int] | None = None,
        *,
        python: StrPath | None = None,
        preload: Iterable[str] = (),
        paths: Iterable[StrPath] = (),
        env: Mapping[str, str | None] | None = None,
        cwd: StrPath | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[object] = (),
        start: Literal["fork", "spawn"] | None = None,
        each: Each | None = None,
        gpus: Gpus | None = None,
        cpus: Cpus | None = None,
        startup_timeout: float | None = 60.0,
        pool: PoolOptions | None = None,
        shutdown_timeout: float = 5.0,
        warn_after: float | None = 30.0,
        trace: bool | str | TraceOptions | None = None,
        by_value: bool = False,
        dashboard: Dashboard = False,
        watch: bool = False,
    ) -> None:
        """Start BEAM, and have it start the workers."""
        if current.link is not None:
            raise BeamError(
                "slither.Beam() was called in a worker, which imports the script or module that "
                'starts it; put that under: if __name__ == "__main__":'
            )
        size, most = settings.workers(settings.cores() if workers is None else workers)
        settings.milliseconds("warn_after", warn_after)
        interpreter = sys.executable if python is None else os.fspath(python)
        if cwd is not None and not os.path.isdir(cwd):
            raise ValueError(f"cwd is a folder that is there, not {os.fspath(cwd)!r}")
        _options.checked("by_value", by_value, _options.BOOL)
        _options.checked("watch", watch, _options.BOOL)
        options = pool_options(pool)
        functions = ByValue(secret()) if by_value else Functions()
        variables = dict(env or {})
        mine = [*(os.fspath(path) for path in paths), *search.given_path(variables)]
        facts = {
            "size": size,
            "python": interpreter,
            "preload": list(preload),
            "paths": [*mine, *search.search_path(interpreter)],
            "env": search.environment(variables, interpreter),
            "cd": None if cwd is None else os.fspath(cwd),
            "main": main_module(),
            "argv": settings.arguments(),
            "program": settings.program(),
            "start": _options.checked("start", start, _START),
            "initializer": functions.initializer(initializer, tuple(initargs)),
            "startup_timeout": settings.milliseconds("startup_timeout", startup_timeout),
            # BEAM needs time to kill the workers that do not stop, with what they started.
            "shutdown": settings.milliseconds("shutdown_timeout", shutdown_timeout / 3),
            "trace": settings.tracing(trace),
            "watch": watch,
            **functions.facts(),
            **options,
            **placement(each, gpus, cpus, most + int(options.get("spare", 0))),
            **dashboards.dashboard(dashboard),
        }
        super().__init__(facts, most, shutdown_timeout, warn_after, functions)
        if self.dashboard is not None:
            dashboards.tell(self.dashboard)
        self._tables = Tables(self._link)

    def blob(self, value: Payload) -> Blob:
        """Put a large value into shared memory, once, for all workers to read without a copy.

        ``value`` is an array of NumPy, bytes, or a table (pyarrow, pandas, polars). What this
        returns goes to workers in its place, as an item, in one, or as an argument; a function
        gets the value: an array that can only be read, or a ``memoryview`` of bytes, on memory
        that all workers have in common. ::

            with beam.blob(weights) as blob:
                scores = list(beam.map(score, [blob] * len(rows), rows))

        It is there until its block ends, its :meth:`slither.Blob.close` is called or nobody holds
        it any more, and no longer than the Beam; a worker keeps what it has at hand. A call with
        one that is gone fails with a :class:`slither.CallError` of the kind ``unknown_blob``.
        Raises OSError where there is no room: containers often have 64 MB of shared memory.
        """
        return put(self._link, value)

    def table(
        self,
        name: str,
        *,
        type: str = "set",
        durable: StrPath | None = None,
        ttl: float | None = None,
    ) -> Table[Payload, Payload]:
        """Return a dict that this program and all workers share, on ETS.

        A worker has it as ``slither.store.table(name)``; every operation is one round trip, and
        is seen by all at once. The table is there for as long as the Beam is.

        - ``type``: ``"set"``, or ``"ordered_set"`` to walk over keys in their order;
        - ``durable``: a folder in which writes are kept, on disk before they return, and from
          which the table is read when it is opened again; one Beam at a time uses a folder;
        - ``ttl``: seconds that a value lives after it was put, or None for ever.

        Asked for again with the same options it is the same table; with others, ValueError.
        """
        return self._tables.open(name, type, durable, ttl)

    store = table
    """Another name of :meth:`table`."""


def _named_here() -> None:
    # What Python says of a method names the class that people know.
    for base in Beam.__mro__[1:]:
        for name, method in vars(base).items():
            if isinstance(method, FunctionType):
                method.__qualname__ = f"Beam.{name}"


_named_here()
