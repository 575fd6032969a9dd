"""A BEAM of one's own: started with the program, driven by it, and gone with it.

The public class ``slither.Beam``: any thread of the program may use it. What its methods begin
runs in the thread that asks for the results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias, TypeVar, overload

from slither._driver import aio, launch, settings
from slither._driver.functions import main_module, reference
from slither._driver.futures import CallFuture
from slither._driver.lifetime import Lifetime
from slither._driver.map_run import MapRun
from slither._driver.pipe_run import Output, PipeRun, gathered
from slither._driver.results import AsyncResults, Results
from slither._driver.run import results
from slither._driver.settings import Keeps, Many, One, Returns, StrPath
from slither._driver.tables import Tables
from slither._driver.window import Group
from slither._errors import BeamError
from slither._outputs import Outputs
from slither._types import Payload
from slither._worker import current

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from slither._pipe.definition import Pipe
    from slither.store import Table

T = TypeVar("T")
R = TypeVar("R")
AnyIterable: TypeAlias = Iterable[T] | AsyncIterable[T]


class Beam(Lifetime):
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
        size = settings.cores() if workers is None else settings.count("workers", workers)
        settings.milliseconds("warn_after", warn_after)
        interpreter = sys.executable if python is None else os.fspath(python)
        first = None if initializer is None else [*reference(initializer), list(initargs)]
        facts = {
            "size": size,
            "python": interpreter,
            "preload": list(preload),
            "paths": [*(os.fspath(path) for path in paths), *launch.search_path(interpreter)],
            "env": {"PYTHONPATH": launch.python_path() or None, **(env or {})},
            "cd": None if cwd is None else os.fspath(cwd),
            "main": main_module(),
            "argv": settings.arguments(),
            "initializer": first,
            "startup_timeout": settings.milliseconds("startup_timeout", startup_timeout),
            # BEAM needs time to kill the workers that do not stop, with what they started.
            "shutdown": settings.milliseconds("shutdown_timeout", shutdown_timeout / 3),
            **(pool or {}),
        }
        super().__init__(facts, size, shutdown_timeout, warn_after)
        self._tables = Tables(self._link)

    @overload
    def map(
        self, function: One[T, R], iterable: Iterable[T], **options: Unpack[Keeps]
    ) -> Results[R]: ...
    @overload
    def map(
        self, function: One[T, R], iterable: Iterable[T], **options: Unpack[Returns]
    ) -> Results[R | Exception]: ...
    @overload
    def map(
        self, function: Many[T, R], iterable: Iterable[T], **options: Unpack[Keeps]
    ) -> Results[R]: ...
    @overload
    def map(
        self, function: Many[T, R], iterable: Iterable[T], **options: Unpack[Returns]
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
        run = MapRun.over(
            self,
            function,
            iterable,
            on_error,
            batch_size=batch_size,
            max_in_flight=max_in_flight,
            ordering=ordering,
            isolate=isolate,
            timeout=timeout,
            trace=trace,
            progress=progress,
        )
        return Results.of(run, iterable)

    @overload
    def amap(
        self, function: One[T, R], iterable: AnyIterable[T], **options: Unpack[Keeps]
    ) -> AsyncResults[R]: ...
    @overload
    def amap(
        self, function: One[T, R], iterable: AnyIterable[T], **options: Unpack[Returns]
    ) -> AsyncResults[R | Exception]: ...
    @overload
    def amap(
        self, function: Many[T, R], iterable: AnyIterable[T], **options: Unpack[Keeps]
    ) -> AsyncResults[R]: ...
    @overload
    def amap(
        self, function: Many[T, R], iterable: AnyIterable[T], **options: Unpack[Returns]
    ) -> AsyncResults[R | Exception]: ...
    def amap(
        self,
        function: Callable[..., object],
        iterable: AnyIterable[Payload],
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
        run = MapRun.over(
            self,
            function,
            iterable,
            on_error,
            batch_size=batch_size,
            max_in_flight=max_in_flight,
            ordering=ordering,
            isolate=isolate,
            timeout=timeout,
            trace=trace,
            progress=progress,
        )
        return AsyncResults(run, iterable)

    def stream(
        self,
        pipe: Pipe,
        iterable: Iterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> Results[Output]:
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
        run = PipeRun.over(
            self, pipe, iterable, progress, checkpoint=checkpoint, resume=resume, trace=trace
        )
        return Results.of(run, iterable)

    def astream(
        self,
        pipe: Pipe,
        iterable: AnyIterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> AsyncResults[Output]:
        """Give the outputs for ``async for``; otherwise as :meth:`stream`."""
        run = PipeRun.over(
            self, pipe, iterable, progress, checkpoint=checkpoint, resume=resume, trace=trace
        )
        return AsyncResults(run, iterable)

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
        run = PipeRun.over(
            self, pipe, iterable, progress, checkpoint=checkpoint, resume=resume, trace=trace
        )
        with gathered(run) as outputs:
            for part in results(run, iterable):
                for name, value in part:
                    outputs[name].append(value)
        return outputs

    async def arun(
        self,
        pipe: Pipe,
        iterable: AnyIterable[Payload],
        *,
        checkpoint: StrPath | None = None,
        resume: str = "same",
        trace: str | None = None,
        progress: bool = False,
    ) -> Outputs:
        """Run a pipe without a thread that waits; otherwise as :meth:`run`."""
        run = PipeRun.over(
            self, pipe, iterable, progress, checkpoint=checkpoint, resume=resume, trace=trace
        )
        with gathered(run) as outputs:
            async for name, value in aio.results(run, iterable):
                outputs[name].append(value)
        return outputs

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
        return self._calls.submit(self, (*target, timeout), [call], group=group)

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
        return self._tables.open(name, type, durable, ttl)
