"""A BEAM of one's own: started with the program, driven by it, and gone with it."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, overload
from urllib.parse import quote

from slither._driver import aio, logs, settings
from slither._driver.connection import Connection
from slither._driver.functions import importable, reference
from slither._driver.futures import CallFuture, Group, Jobs
from slither._driver.map_run import AsyncResults, MapRun, Results
from slither._driver.pipe_run import (
    AsyncStream,
    Outputs,
    PipeRun,
    Stream,
    ended,
    gathered,
    stopped,
)
from slither._driver.pool import StrPath, cores, pool_settings
from slither._driver.progress import shows
from slither._driver.run import results
from slither._driver.sources import sources
from slither._driver.tables import SharedTable
from slither._errors import BeamError
from slither._worker import current

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from slither._types import Payload
    from slither.pipe import Pipe
    from slither.store import Table

T = TypeVar("T")
R = TypeVar("R")

# Batches of a map that are out at once by default, where twice the workers are not more.
_IN_FLIGHT = 8


class Beam:
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

    - ``workers``: processes in the pool, 1 or more; by default one for each core;
    - ``python``: the workers' interpreter; by default this one;
    - ``preload``: modules to import when a worker starts;
    - ``paths``: folders for the workers' ``sys.path``; this program's own come by themselves;
    - ``env``: environment variables for the workers, None to remove one;
    - ``cwd``: the workers' folder;
    - ``initializer``, ``initargs``: a function that each worker calls when it starts;
    - ``startup_timeout``: seconds a worker may take to start, imports included, or None;
    - ``pool``: further options of the pool by their names on BEAM, such as ``max_requests`` or
      ``max_rss`` (bytes) after which a worker is replaced, ``max_age`` (ms), ``spare`` workers
      that wait to take the place of one that dies, ``cancel_grace`` (ms), ``log_level``, the
      least that workers send of what they log and print ("debug", …, "none"),
      ``capture_failures``, a folder for batches that fail (see :mod:`slither.replay`);
    - ``shutdown_timeout``: seconds that :meth:`close` waits before it kills; the stop hooks of
      workers have a third of it;
    - ``warn_after``: seconds after which a submitted call that runs while others wait for a
      worker is named in a warning of the logger ``slither``; None for never.

    Raises :class:`slither.BeamMissing` where Erlang is not installed, with how to get it.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        python: StrPath | None = None,
        preload: Iterable[str] = (),
        paths: Iterable[StrPath] = (),
        env: Mapping[str, str | None] | None = None,
        cwd: StrPath | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[object] = (),
        startup_timeout: float | None = 60.0,
        pool: Mapping[str, object] | None = None,
        shutdown_timeout: float = 5.0,
        warn_after: float | None = 30.0,
    ) -> None:
        """Start BEAM, and have it start the workers."""
        if current.link is not None:
            raise BeamError(
                "slither.Beam() was called in a worker, which imports the script or module that "
                'starts it; put that under: if __name__ == "__main__":'
            )
        self._workers = cores() if workers is None else settings.count("workers", workers)
        settings.milliseconds("warn_after", warn_after)
        facts = pool_settings(
            workers=self._workers,
            python=python,
            preload=preload,
            paths=paths,
            env=env,
            cwd=cwd,
            initializer=initializer,
            initargs=initargs,
            startup_timeout=startup_timeout,
            shutdown_timeout=shutdown_timeout,
            more=pool,
        )
        self._shutdown_timeout = shutdown_timeout
        self._link = Connection(facts, logs.show)
        self._jobs = Jobs(self._link, self._workers, warn_after)
        self._tables: dict[str, tuple[object, ...]] = {}
        # When nobody holds the Beam any more; at the end of the program, `_at_exit` waits, too.
        weakref.finalize(self, self._link.begin_close, shutdown_timeout).atexit = False
        _open[self._link] = self._jobs, shutdown_timeout

    def __enter__(self) -> Beam:
        """Return the Beam itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; at once where a second KeyboardInterrupt has come already."""
        try:
            before = error.__context__ if error is not None else None
            if isinstance(error, KeyboardInterrupt) and isinstance(before, KeyboardInterrupt):
                self._link.kill()
            self.close()
        except BaseException:
            self._link.kill()
            raise

    def __repr__(self) -> str:
        """Say how many workers it has, and whether it runs."""
        state = "closed" if self._link.death else f"pid {self._link.facts.get('pid')}"
        return f"<slither.Beam workers={self._workers} {state}>"

    def close(self) -> None:
        """End the runs, the workers and BEAM, in that order; a second call does nothing.

        A worker that is at work is killed, for nobody waits for what it does any more; the others
        run their stop hooks.

        A KeyboardInterrupt while it waits kills what is left at once.
        """
        self._link.close(self._shutdown_timeout)

    @property
    def workers(self) -> int:
        """How many workers the pool has."""
        return self._workers

    def status(self) -> dict[str, Payload]:
        """Return what the pool does now.

        A dict of ``size``, ``queue`` (calls that wait), ``started``, ``died``, ``error`` and
        ``workers``, each with ``worker``, ``status``, ``pid`` and ``calls``.
        """
        found: dict[str, Payload] = self._link.request("status", {})
        return found

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until a worker is ready, at most ``timeout`` seconds.

        Raises :class:`slither.CallError` with the reason where none can start.
        """
        self._link.request("await_ready", {"timeout": settings.milliseconds("timeout", timeout)})

    def logs(self) -> list[str]:
        """Return the last lines that BEAM logged, newest last."""
        return self._link.child.lines()

    @overload
    def map(
        self,
        function: Callable[[T], R],
        iterable: Iterable[T],
        *,
        on_error: settings.Kept = ...,
        **options: Unpack[settings.MapOptions],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        function: Callable[[T], R],
        iterable: Iterable[T],
        *,
        on_error: Literal["return"],
        **options: Unpack[settings.MapOptions],
    ) -> Results[R | Exception]: ...
    @overload
    def map(
        self,
        function: Callable[[list[T]], list[R]],
        iterable: Iterable[T],
        *,
        on_error: settings.Kept = ...,
        **options: Unpack[settings.MapOptions],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        function: Callable[[list[T]], list[R]],
        iterable: Iterable[T],
        *,
        on_error: Literal["return"],
        **options: Unpack[settings.MapOptions],
    ) -> Results[R | Exception]: ...
    def map(
        self,
        function: Callable[..., object],
        iterable: Iterable[Payload],
        *,
        batch_size: int | None = None,
        max_in_flight: int | None = None,
        ordering: settings.Ordering = "preserve",
        on_error: settings.OnError = "halt",
        isolate: bool = False,
        timeout: float | None = None,
        trace: str | None = None,
        progress: bool = False,
    ) -> Results[Payload]:
        """Apply a function to each item, and give the results lazily, one for each item.

        ``function`` is given by reference: workers import it by its module and name, so it is
        one of a module or of the script, not a lambda or a closure. It takes one item; one that
        is marked with :func:`slither.worker.batch_handler` takes a list of up to ``batch_size``
        items and returns as many results. Without a ``batch_size``, batches begin with one item,
        so that a few slow items go to all workers, and grow up to 64 while they come back soon.

        ``iterable`` may be infinite: it is pulled in the thread that asks for results, and never
        further than ``max_in_flight`` batches ahead of them (by default 8, or twice the workers
        where that is more), nor beyond 64 MB and a batch.

        - ``ordering``: ``"preserve"``, or ``"as_completed"`` for results as their batches end;
        - ``on_error``: ``"halt"`` raises the exception of the first item that failed, after the
          results before it; ``"skip"`` leaves failed items out; ``"return"`` gives exceptions in
          their places; :func:`slither.pipe.retry` tries again first;
        - ``isolate``: whether a batch that fails as a whole, as when its worker dies, is split
          until the items at fault are alone;
        - ``timeout``: seconds a batch may run on its worker, which is killed then; None, the
          default, for ever;
        - ``trace``: what the handlers find as ``slither.worker.context().trace``;
        - ``progress``: whether to show on stderr how far it is, as a bar with ``rich`` installed.

        An exception of the function is raised as what it was where its class is known here, with
        the worker's traceback as its cause. Raises :class:`slither.NotImportable` at once.
        """
        run = self._map_run(
            function,
            batch_size=batch_size,
            max_in_flight=max_in_flight,
            ordering=ordering,
            on_error=on_error,
            isolate=isolate,
            timeout=timeout,
            trace=trace,
        )
        run.shows = shows(_label(function), iterable, progress)
        return Results.of(run, iterable)

    @overload
    def amap(
        self,
        function: Callable[[T], R],
        iterable: Iterable[T] | AsyncIterable[T],
        *,
        on_error: settings.Kept = ...,
        **options: Unpack[settings.MapOptions],
    ) -> AsyncResults[R]: ...
    @overload
    def amap(
        self,
        function: Callable[[T], R],
        iterable: Iterable[T] | AsyncIterable[T],
        *,
        on_error: Literal["return"],
        **options: Unpack[settings.MapOptions],
    ) -> AsyncResults[R | Exception]: ...
    @overload
    def amap(
        self,
        function: Callable[[list[T]], list[R]],
        iterable: Iterable[T] | AsyncIterable[T],
        *,
        on_error: settings.Kept = ...,
        **options: Unpack[settings.MapOptions],
    ) -> AsyncResults[R]: ...
    @overload
    def amap(
        self,
        function: Callable[[list[T]], list[R]],
        iterable: Iterable[T] | AsyncIterable[T],
        *,
        on_error: Literal["return"],
        **options: Unpack[settings.MapOptions],
    ) -> AsyncResults[R | Exception]: ...
    def amap(
        self,
        function: Callable[..., object],
        iterable: Iterable[Payload] | AsyncIterable[Payload],
        *,
        batch_size: int | None = None,
        max_in_flight: int | None = None,
        ordering: settings.Ordering = "preserve",
        on_error: settings.OnError = "halt",
        isolate: bool = False,
        timeout: float | None = None,
        trace: str | None = None,
        progress: bool = False,
    ) -> AsyncResults[Payload]:
        """Give the results for ``async for``; otherwise as :meth:`map`.

        ``iterable`` may be one for ``async for``, too; it is pulled in the event loop.
        """
        run = self._map_run(
            function,
            batch_size=batch_size,
            max_in_flight=max_in_flight,
            ordering=ordering,
            on_error=on_error,
            isolate=isolate,
            timeout=timeout,
            trace=trace,
        )
        run.shows = shows(_label(function), iterable, progress)
        return AsyncResults(aio.results(run, iterable), run)

    def _map_run(self, function: Callable[..., object], **options: Payload) -> MapRun:
        policy, failures = settings.policy(options["on_error"])
        ordering = settings.one_of("ordering", options["ordering"], ("preserve", "as_completed"))
        spec: dict[str, Payload] = {
            "target": ["each", *reference(function)],
            "max_in_flight": self._in_flight(options["max_in_flight"]),
            "ordering": ordering,
            "on_error": policy,
            "isolate": bool(options["isolate"]),
            "timeout": settings.milliseconds("timeout", options["timeout"]),
        }
        if options["trace"] is not None:
            spec["trace"] = str(options["trace"])
        size = options["batch_size"]
        if size is not None:
            size = settings.count("batch_size", size)
        return MapRun(self._link, spec, self, batch_size=size, failures=failures)

    def _in_flight(self, value: object) -> int:
        if value is None:
            return max(_IN_FLIGHT, 2 * self._workers)
        return settings.count("max_in_flight", value)

    def stream(
        self,
        pipe: Pipe,
        iterable: Iterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> Stream:
        """Run a pipe, and give ``(output, payload)`` as they come, in order for each output.

        ``iterable`` may be infinite: it is pulled in the thread that asks for outputs, some
        hundred items ahead of what the pipe can work on, and no further.

        With ``checkpoint``, a file, the run records what is finished: the same call after a
        crash goes on from there, and gives everything once. A checkpoint of another pipe, of
        handlers with another source or of another input is refused with what differs, unless
        ``resume`` is ``"anyway"``; one that another run uses is refused, too.
        ``trace`` and ``progress`` are as for :meth:`map`.

        Raises :class:`slither.RunError` when the pipe stops at an item that failed, after what
        came out before it, and what the input raises as it is.
        """
        run = self._pipe_run(pipe, checkpoint, trace, resume)
        run.shows = shows(pipe.name, iterable, progress)
        return Stream.of(run, iterable)

    def astream(
        self,
        pipe: Pipe,
        iterable: Iterable[Payload] | AsyncIterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> AsyncStream:
        """Give the outputs for ``async for``; otherwise as :meth:`stream`."""
        run = self._pipe_run(pipe, checkpoint, trace, resume)
        run.shows = shows(pipe.name, iterable, progress)
        return AsyncStream(aio.results(run, iterable), run)

    def run(
        self,
        pipe: Pipe,
        iterable: Iterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> Outputs:
        """Run a pipe over all items, and return its outputs.

        A dict from each output's name to the list of payloads that reached it, in order, with
        ``default`` for those that no route took. Takes and raises what :meth:`stream` does, but
        always as :class:`slither.RunError`, with what had come out as ``partial``.
        """
        run = self._pipe_run(pipe, checkpoint, trace, resume)
        run.shows = shows(pipe.name, iterable, progress)
        outputs = gathered(run.document)
        try:
            for part in results(run, iterable):
                for name, value in part:
                    outputs[name].append(value)
        except Exception as error:  # noqa: BLE001 - told with what had come out
            failure = stopped(error, outputs, run)
            raise failure from failure.__cause__
        return ended(outputs, run)

    async def arun(
        self,
        pipe: Pipe,
        iterable: Iterable[Payload] | AsyncIterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> Outputs:
        """Run a pipe without a thread that waits; otherwise as :meth:`run`."""
        run = self._pipe_run(pipe, checkpoint, trace, resume)
        run.shows = shows(pipe.name, iterable, progress)
        outputs = gathered(run.document)
        try:
            async for name, value in aio.results(run, iterable):
                outputs[name].append(value)
        except Exception as error:  # noqa: BLE001 - told with what had come out
            failure = stopped(error, outputs, run)
            raise failure from failure.__cause__
        return ended(outputs, run)

    def _pipe_run(
        self, pipe: Pipe, checkpoint: StrPath | None, trace: str | None, resume: str
    ) -> PipeRun:
        from slither.pipe import Pipe

        if not isinstance(pipe, Pipe):
            raise TypeError(f"a pipe is a slither.Pipe, not {pipe!r:.80}")
        spec: dict[str, Payload] = {"document": importable(pipe.document())}
        anyway = settings.one_of("resume", resume, ("same", "anyway")) == "anyway"
        if checkpoint is not None:
            spec["checkpoint"] = os.path.abspath(os.fspath(checkpoint))
            spec["sources"] = sources(pipe.document())
            if anyway:
                spec["resume"] = "anyway"
        if trace is not None:
            spec["trace"] = str(trace)
        return PipeRun(self._link, spec, self)

    def submit(
        self, function: Callable[..., R], /, *arguments: object, **named: object
    ) -> CallFuture[R]:
        """Call a function once, in a worker, and return a future for what it returns.

        The function is given by reference, as for :meth:`map`; arguments and result cross as all
        values do, tuples as lists. Arguments are read before this returns; one that can't be
        sent fails the future. The future can be cancelled until a worker has the call, and ended
        with ``kill()`` from then on. It keeps the Beam alive; done callbacks run in a thread of
        their own, one after the other.
        """
        return self._submit(reference(function), None, arguments, named)

    def submit_with(
        self,
        function: Callable[..., R],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> CallFuture[R]:
        """Call a function once, as :meth:`submit` does, with options of the call beside it.

        ``timeout``: seconds that the call may run, or None for ever; then its worker is killed,
        and the future has a :class:`slither.CallTimeout`.
        """
        limit = settings.milliseconds("timeout", timeout)
        return self._submit(reference(function), limit, tuple(args), dict(kwargs or {}))

    def _submit(
        self,
        target: tuple[str, str],
        timeout: int | None,
        arguments: tuple[object, ...],
        named: dict[str, object],
        group: Group | None = None,
    ) -> CallFuture[R]:
        call = (arguments, named)
        return self._jobs.submit(self, (*target, timeout), [call], group=group)

    def store(
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
        if not isinstance(name, str) or not name:
            raise ValueError(f"name is a str of a character or more, not {name!r:.80}")
        where = None
        if durable is not None:
            where = os.path.abspath(os.path.join(os.fspath(durable), quote(name, safe="")))
        options = (
            settings.one_of("type", type, ("set", "ordered_set")),
            where,
            settings.milliseconds("ttl", ttl),
        )
        known = self._tables.get(name)
        if known is None:
            facts = dict(zip(("type", "dir", "ttl"), options, strict=True))
            self._link.request("table", {"name": name, **facts})
            self._tables[name] = options
        elif known != options:
            raise ValueError(f"the table {name!r} is open already, with other options: {known}")
        return SharedTable(name, self._link)


_open: weakref.WeakKeyDictionary[Connection, tuple[Jobs, float]] = weakref.WeakKeyDictionary()


def _at_exit() -> None:
    # What was submitted is finished, as by an executor of the standard library; runs that nobody
    # asks for results any more are not.
    for connection, (jobs, timeout) in list(_open.items()):
        try:
            jobs.await_none(jobs.all)
        finally:
            connection.close(timeout)


atexit.register(_at_exit)


def _label(function: Callable[..., object]) -> str:
    return str(getattr(function, "__name__", "map"))
