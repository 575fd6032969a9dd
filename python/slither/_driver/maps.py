"""What a Beam does with a function of many items.

A method returns at once; the thread, or the event loop, that asks for the results runs the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, overload

from slither._driver import settings
from slither._driver.lifetime import Lifetime
from slither._driver.map_run import MapRun
from slither._driver.results import AsyncResults, Results
from slither._driver.settings import InFrames, Keeps, Many, One, Returns
from slither._driver.several import together, together_async
from slither._rate import Rate
from slither._takes import FrameKind
from slither._types import Payload

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
T2 = TypeVar("T2")
R = TypeVar("R")
AnyIterable: TypeAlias = Iterable[T] | AsyncIterable[T]


class Maps(Lifetime):
    """The maps of a Beam."""

    @overload
    def map(
        self,
        function: Callable[..., object],
        iterable: Iterable[object],
        **options: Unpack[InFrames],
    ) -> Results[Payload]: ...
    @overload
    def map(
        self,
        function: One[T, R],
        iterable: Iterable[T],
        *,
        each: Literal[True] | None = None,
        **options: Unpack[Keeps],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        function: One[T, R],
        iterable: Iterable[T],
        *,
        each: Literal[True] | None = None,
        **options: Unpack[Returns],
    ) -> Results[R | Exception]: ...
    @overload
    def map(
        self,
        function: Many[T, R],
        iterable: Iterable[T],
        *,
        each: Literal[False] | None = None,
        **options: Unpack[Keeps],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        function: Many[T, R],
        iterable: Iterable[T],
        *,
        each: Literal[False] | None = None,
        **options: Unpack[Returns],
    ) -> Results[R | Exception]: ...
    @overload
    def map(
        self,
        function: Callable[[T, T2], R],
        iterable: Iterable[T],
        second: Iterable[T2],
        /,
        **options: Unpack[Keeps],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        function: Callable[..., R],
        iterable: Iterable[object],
        second: Iterable[object],
        /,
        *more: Iterable[object],
        **options: Unpack[Returns],
    ) -> Results[R | Exception]: ...
    @overload
    def map(
        self,
        function: Callable[..., R],
        iterable: Iterable[object],
        second: Iterable[object],
        third: Iterable[object],
        /,
        *more: Iterable[object],
        **options: Unpack[Keeps],
    ) -> Results[R]: ...
    def map(
        self,
        function: Callable[..., object],
        iterable: Iterable[Payload],
        *iterables: Iterable[Payload],
        each: bool | None = None,
        batch_size: int | Literal["auto"] | None = "auto",
        batch_time: float | None = None,
        max_in_flight: int | None = None,
        ahead_bytes: int | None = None,
        ordering: settings.Ordering = "preserve",
        on_error: settings.OnError = "halt",
        isolate: bool = False,
        timeout: float | None = None,
        item_timeout: float | None = None,
        session: str | None = None,
        trace: str | None = None,
        progress: bool = False,
        as_: FrameKind | None = None,
        rate: Rate | None = None,
        priority: settings.Priority = "normal",
    ) -> Results[Payload]:
        """Apply a function to each item, and give the results lazily, one for each item.

        For several results of an item, or none, there is :meth:`slither.Pipe.python` with
        ``cardinality="many"``.

        ``function`` is given by reference: workers import it by its module and name, so it is
        one of a module or of the script, not a lambda or a closure. It takes one item, or a list
        of up to ``batch_size`` items for which it returns, or yields, as many results. What it
        takes is said by ``each`` (True for one item); where that is not given, by
        :func:`slither.worker.item_handler` or :func:`slither.worker.batch_handler` that mark it;
        else by its annotations: ``list[…] -> list[…]``, or to an iterator, is a list, and all
        others are one item. Where annotations alone say a list, and an item is a list itself, it
        is a TypeError. With
        ``batch_size="auto"``, the default, batches begin with one item and grow until they take
        a worker ``batch_time`` seconds (0.05). No worker gets more than its share of the items at
        hand: a few slow ones go to all workers.

        With several iterables the function takes an item of each, as with the built-in ``map``;
        the shortest ends it.

        ``iterable`` may be infinite: it is pulled in the thread that asks for results, and never
        further than ``max_in_flight`` batches ahead of them (by default 8, or twice the workers
        where that is more) and with ``"auto"`` one more for each worker, nor beyond 64 MB and a
        batch, or ``ahead_bytes``. Items of one that pauses are sent when a worker has nothing to
        do, and their results looked for before it is pulled on, for a tenth of its interval
        (0.05 s at most).

        - ``ahead_bytes``: bytes, as they are sent, of the items that are out and of their
          results, those still to come among them, which count for what the last ones took; one
          batch may go beyond it. None bounds the items alone, by 64 MB;
        - ``ordering``: ``"preserve"``, or ``"as_completed"`` for results as their batches end;
        - ``on_error``: ``"halt"`` raises the exception of the first item that failed, after the
          results before it; ``"skip"`` leaves failed items out; ``"return"`` gives exceptions in
          their places; :func:`slither.pipe.retry` tries again first;
        - ``isolate``: whether a batch that fails as a whole, as when its worker dies, is split
          until the items at fault are alone;
        - ``timeout``: seconds a batch may run on its worker, which is killed then; None, the
          default, for ever;
        - ``item_timeout``: seconds one item may run, whatever batch it is in; it fails alone
          then, and the others go on. A function of a list has them for each item, together;
        - ``session``: the name of a session; its batches run on one worker, one after the other,
          with the state of :func:`slither.worker.session` (see :meth:`submit_with`);
        - ``as_``: ``"pandas"``, ``"polars"`` or ``"arrow"``, for a function that takes a batch as
          one frame, whose rows are the items, which are dicts. It gives a frame, a column or a
          list with a result for each row: a row of a frame is a dict again;
        - ``trace``: the ``traceparent`` that its calls are below, else the current span of
          ``opentelemetry``; handlers have ``slither.worker.context().trace``;
        - ``rate``: a :class:`slither.Rate`: how many items may go out in a time. A handler that
          is refused for now returns a :class:`slither.worker.Failure` with ``retry_after``, or
          raises what its HTTP client raises for 429: the rate is paused, and the item goes again;
        - ``priority``: ``"urgent"`` for batches that get a worker before others;
        - ``progress``: whether to show how far it is: in a notebook's cell, or else on stderr,
          as a bar with ``rich`` installed.

        The function gets what its annotations say, objects of a dataclass in place of dicts, and
        results are what it says that it returns; an item or a result that is something else
        fails with a :class:`slither.PayloadError`.

        An exception of the function is raised as what it was where its class is known here, with
        the worker's traceback as its cause. Raises :class:`slither.NotImportable` at once.
        """
        items = together((iterable, *iterables)) if iterables else iterable
        run = MapRun.over(
            self,
            function,
            items,
            on_error,
            settings.taking(function, each, several=bool(iterables), as_=as_),
            batch_size=batch_size,
            batch_time=batch_time,
            max_in_flight=max_in_flight,
            ahead_bytes=ahead_bytes,
            ordering=ordering,
            isolate=isolate,
            timeout=timeout,
            item_timeout=item_timeout,
            session=session,
            trace=trace,
            progress=progress,
            as_=as_,
            rate=rate,
            priority=priority,
        )
        return Results.of(run, items)

    @overload
    def amap(
        self,
        function: Callable[..., object],
        iterable: AnyIterable[object],
        **options: Unpack[InFrames],
    ) -> AsyncResults[Payload]: ...
    @overload
    def amap(
        self,
        function: One[T, R],
        iterable: AnyIterable[T],
        *,
        each: Literal[True] | None = None,
        **options: Unpack[Keeps],
    ) -> AsyncResults[R]: ...
    @overload
    def amap(
        self,
        function: One[T, R],
        iterable: AnyIterable[T],
        *,
        each: Literal[True] | None = None,
        **options: Unpack[Returns],
    ) -> AsyncResults[R | Exception]: ...
    @overload
    def amap(
        self,
        function: Many[T, R],
        iterable: AnyIterable[T],
        *,
        each: Literal[False] | None = None,
        **options: Unpack[Keeps],
    ) -> AsyncResults[R]: ...
    @overload
    def amap(
        self,
        function: Many[T, R],
        iterable: AnyIterable[T],
        *,
        each: Literal[False] | None = None,
        **options: Unpack[Returns],
    ) -> AsyncResults[R | Exception]: ...
    @overload
    def amap(
        self,
        function: Callable[[T, T2], R],
        iterable: AnyIterable[T],
        second: AnyIterable[T2],
        /,
        **options: Unpack[Keeps],
    ) -> AsyncResults[R]: ...
    @overload
    def amap(
        self,
        function: Callable[..., R],
        iterable: AnyIterable[object],
        second: AnyIterable[object],
        /,
        *more: AnyIterable[object],
        **options: Unpack[Returns],
    ) -> AsyncResults[R | Exception]: ...
    @overload
    def amap(
        self,
        function: Callable[..., R],
        iterable: AnyIterable[object],
        second: AnyIterable[object],
        third: AnyIterable[object],
        /,
        *more: AnyIterable[object],
        **options: Unpack[Keeps],
    ) -> AsyncResults[R]: ...
    def amap(
        self,
        function: Callable[..., object],
        iterable: AnyIterable[Payload],
        *iterables: AnyIterable[Payload],
        each: bool | None = None,
        batch_size: int | Literal["auto"] | None = "auto",
        batch_time: float | None = None,
        max_in_flight: int | None = None,
        ahead_bytes: int | None = None,
        ordering: settings.Ordering = "preserve",
        on_error: settings.OnError = "halt",
        isolate: bool = False,
        timeout: float | None = None,
        item_timeout: float | None = None,
        session: str | None = None,
        trace: str | None = None,
        progress: bool = False,
        as_: FrameKind | None = None,
        rate: Rate | None = None,
        priority: settings.Priority = "normal",
    ) -> AsyncResults[Payload]:
        """Give the results for ``async for``; otherwise as :meth:`map`.

        ``iterable`` may be one for ``async for``, too; it is pulled in the event loop.
        """
        items = together_async((iterable, *iterables)) if iterables else iterable
        run = MapRun.over(
            self,
            function,
            items,
            on_error,
            settings.taking(function, each, several=bool(iterables), as_=as_),
            batch_size=batch_size,
            batch_time=batch_time,
            max_in_flight=max_in_flight,
            ahead_bytes=ahead_bytes,
            ordering=ordering,
            isolate=isolate,
            timeout=timeout,
            item_timeout=item_timeout,
            session=session,
            trace=trace,
            progress=progress,
            as_=as_,
            rate=rate,
            priority=priority,
        )
        return AsyncResults(run, items)
