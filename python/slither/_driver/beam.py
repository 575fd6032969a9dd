"""A BEAM of one's own: started with the program, driven by it, and gone with it."""

from __future__ import annotations

import os
import weakref
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, overload
from urllib.parse import quote

from slither import _state
from slither._driver import aio, logs, settings
from slither._driver.calls import Calls
from slither._driver.functions import importable, reference
from slither._driver.link import Link
from slither._driver.maps import AsyncResults, MapRun, Results
from slither._driver.pipes import (
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
from slither._driver.runs import results
from slither._driver.sources import sources
from slither._driver.tables import SharedTable
from slither._errors import BeamError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from slither._types import Payload
    from slither.pipe import Pipe
    from slither.store import Table

T = TypeVar("T")
R = TypeVar("R")


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
      workers have a third of it.

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
    ) -> None:
        """Start BEAM, and have it start the workers."""
        if _state.link is not None:
            raise BeamError(
                "slither.Beam() was called in a worker, which imports the script or module that "
                'starts it; put that under: if __name__ == "__main__":'
            )
        self._workers = cores() if workers is None else settings.count("workers", workers)
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
        self._link = Link(facts, logs.show)
        self._calls: dict[tuple[str, str], Calls] = {}
        self._tables: dict[str, tuple[object, ...]] = {}
        # At the end of the program, too, and when nobody holds the Beam any more.
        self._finalizer = weakref.finalize(self, Link.close, self._link, shutdown_timeout)

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
        except KeyboardInterrupt:
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
        if self._finalizer.alive:
            self._finalizer()

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
        batch_size: int = 64,
        max_in_flight: int = 8,
        ordering: settings.Ordering = "preserve",
        on_error: settings.OnError = "halt",
        isolate: bool = False,
        timeout: float | None = 30.0,
        trace: str | None = None,
        progress: bool = False,
    ) -> Results[Payload]:
        """Apply a function to each item, and give the results lazily, one for each item.

        ``function`` is given by reference: workers import it by its module and name, so it is
        one of a module or of the script, not a lambda or a closure. It takes one item; one that
        is marked with :func:`slither.worker.batch_handler` takes a list of up to ``batch_size``
        items and returns as many results.

        ``iterable`` may be infinite: it is pulled in the thread that asks for results, and never
        further than ``max_in_flight`` batches ahead of them, nor beyond 64 MB and a batch.

        - ``ordering``: ``"preserve"``, or ``"as_completed"`` for results as their batches end;
        - ``on_error``: ``"halt"`` raises the exception of the first item that failed, after the
          results before it; ``"skip"`` leaves failed items out; ``"return"`` gives exceptions in
          their places; :func:`slither.pipe.retry` tries again first;
        - ``isolate``: whether a batch that fails as a whole, as when its worker dies, is split
          until the items at fault are alone;
        - ``timeout``: seconds a batch may run on its worker, which is killed then; None for ever;
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
        return Results(results(run, iterable), run)

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
        batch_size: int = 64,
        max_in_flight: int = 8,
        ordering: settings.Ordering = "preserve",
        on_error: settings.OnError = "halt",
        isolate: bool = False,
        timeout: float | None = 30.0,
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
            "max_in_flight": settings.count("max_in_flight", options["max_in_flight"]),
            "ordering": ordering,
            "on_error": policy,
            "isolate": bool(options["isolate"]),
            "timeout": settings.milliseconds("timeout", options["timeout"]),
        }
        if options["trace"] is not None:
            spec["trace"] = str(options["trace"])
        size = settings.count("batch_size", options["batch_size"])
        return MapRun(self._link, spec, self, batch_size=size, failures=failures)

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
        return Stream(results(run, iterable), run)

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
            for name, value in results(run, iterable):
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
    ) -> Future[R]:
        """Call a function once, in a worker, and return a future for what it returns.

        The function is given by reference, as for :meth:`map`; arguments and result cross as all
        values do, tuples as lists. The future can be cancelled until a worker has the call.
        """
        return self._calls_of(function).submit(arguments, named)

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

    def _calls_of(self, function: Callable[..., object]) -> Calls:
        target = reference(function)
        calls = self._calls.get(target)
        if calls is None or calls.ended:
            calls = self._calls[target] = Calls(self._link, target, 2 * self._workers + 1)
        return calls


def _label(function: Callable[..., object]) -> str:
    return str(getattr(function, "__name__", "map"))
