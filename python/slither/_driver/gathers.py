"""Calls of one function from many threads and tasks, which go to workers together.

Any thread of the program, and any event loop, calls a gather; BEAM makes the batches. Items are
sent by the writer, as single calls are (see ``window``).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Generic, Literal, TypeVar, overload

from slither import _options
from slither._driver import settings
from slither._driver.connection import Connection
from slither._driver.futures import Answer, CallFuture
from slither._driver.lifetime import Lifetime
from slither._driver.settings import Many, One
from slither._driver.window import Job, Target, Window
from slither._errors import CallKilled, CallTimeout, EncodeError
from slither._takes import FrameKind
from slither._types import Payload
from slither._wire import batches, frames
from slither._wire.build import frame
from slither._wire.codec import Codec, encode

T = TypeVar("T")
R = TypeVar("R")

# The head of a list of two: a feed's item is its key and itself.
_PAIR = b"\x92"
_WAIT: _options.Check = (
    "a number of seconds, 0 or more",
    lambda value: (
        isinstance(value, int | float) and type(value) is not bool and 0 <= value < 1_000_000
    ),
)


class _Items(Window):
    """The items of a gather: each goes to BEAM at once, and is answered by itself."""

    def __init__(
        self,
        connection: Connection,
        target: Target,
        _window: int,
        over: Callable[[Window], object],
    ) -> None:
        """Begin the run, in the writer."""
        super().__init__(connection, target, sys.maxsize, over)

    def spec(self, target: Target, window: int) -> tuple[str, dict[str, Payload]]:
        """Return what the gather asked for."""
        assert isinstance(target.gather, _Asked)
        return "gather", target.gather.spec

    def widen(self, window: int) -> None:
        """Do nothing: BEAM knows how many workers there are."""

    def kill(self, job: Job) -> None:
        """Give an item up; its worker goes on, as others may wait for the same batch."""
        if self.out.pop(job.first, None) is job:
            self._connection.write(frame(frames.KILL, self.identity, job.first))
            job.settle(Answer(None, partial(CallKilled, "the item was given up"), job.many))


class _Asked:
    """The options of one gather, which no other has."""

    def __init__(self, spec: dict[str, Payload]) -> None:
        """Take the spec of its run."""
        self.spec = spec


class Gather(Generic[T, R]):
    """One function, called from many threads and tasks: their items go to a worker together.

    Made by :meth:`slither.Beam.gather`, and there for as long as somebody holds it.
    """

    def __init__(
        self,
        beam: Lifetime,
        function: Callable[..., object],
        key: Callable[[T], object] | None,
        taking: settings.Taking,
        spec: dict[str, Payload],
    ) -> None:
        """Take what it calls; nothing is sent before the first item."""
        self._beam = beam
        self._calls = beam._calls
        self._doubts, self._typed = taking.doubts, taking.typed
        self._key = key
        module, name, self._held = beam._functions.reference(function)
        asked = _Asked({"target": [taking.kind, module, name], **spec})
        self._target = Target(module, name, None, gather=asked)
        weakref.finalize(self, self._calls.leave, self._target).atexit = False

    def __repr__(self) -> str:
        """Name the function."""
        return f"<slither.Gather {'.'.join(self._target[:2])}>"

    def __call__(self, item: T, *, timeout: float | None = None) -> R:
        """Return what the function makes of an item, or raise what it raised.

        Any thread may call it, and waits. ``timeout``: seconds to wait, or None for ever; then
        :class:`slither.CallTimeout` is raised, and the item is taken out unless a worker has it.
        """
        _options.checked("timeout", timeout, _options.SECONDS)
        future = self.submit(item)
        try:
            return future.result(timeout)
        except (TimeoutError, concurrent.futures.TimeoutError):
            # Where the item has its answer, the function itself has raised this.
            if future.done():
                raise
            raise _late(timeout) from None
        finally:
            if not future.done():
                future.kill()

    async def acall(self, item: T, *, timeout: float | None = None) -> R:
        """Return what the function makes of an item; the event loop goes on meanwhile.

        Otherwise it is as calling the gather. A task that is cancelled takes its item out.
        """
        _options.checked("timeout", timeout, _options.SECONDS)
        future = self.submit(item)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout)
        except (TimeoutError, asyncio.TimeoutError):
            if future.done():
                raise
            raise _late(timeout) from None
        finally:
            if not future.done():
                future.kill()

    def submit(self, item: T) -> CallFuture[R]:
        """Return a future for what the function makes of an item; it does not wait.

        Its ``kill()`` takes the item out. An item that can't be sent fails its future.
        """
        if self._doubts is not None and (doubt := self._doubts([item])) is not None:
            raise TypeError(doubt)
        key = None if self._key is None else self._key(item)
        body, failure = _encoded(key, item, self._beam._link.codec)
        return self._calls.queue(
            self, self._target, body, failure, typed=self._typed, opens=_Items
        )


class Gathers(Lifetime):
    """The gathers of a Beam."""

    @overload
    def gather(
        self,
        function: One[T, R],
        *,
        each: Literal[True],
        max_batch: int = 64,
        max_wait: float = 0.005,
        key: Callable[[T], object] | None = None,
        timeout: float | None = None,
    ) -> Gather[T, R]: ...
    @overload
    def gather(
        self,
        function: Many[T, R],
        *,
        each: Literal[False] | None = None,
        max_batch: int = 64,
        max_wait: float = 0.005,
        key: Callable[[T], object] | None = None,
        timeout: float | None = None,
    ) -> Gather[T, R]: ...
    @overload
    def gather(
        self,
        function: One[T, R],
        *,
        each: None = None,
        max_batch: int = 64,
        max_wait: float = 0.005,
        key: Callable[[T], object] | None = None,
        timeout: float | None = None,
    ) -> Gather[T, R]: ...
    @overload
    def gather(
        self,
        function: Callable[..., object],
        *,
        as_: FrameKind,
        max_batch: int = 64,
        max_wait: float = 0.005,
        key: Callable[[Payload], object] | None = None,
        timeout: float | None = None,
    ) -> Gather[Payload, Payload]: ...
    def gather(
        self,
        function: Callable[..., object],
        *,
        max_batch: int = 64,
        max_wait: float = 0.005,
        key: Callable[[Payload], object] | None = None,
        each: bool | None = None,
        timeout: float | None = None,
        as_: FrameKind | None = None,
    ) -> Gather[Payload, Payload]:
        """Return what many threads and tasks call with an item each, in batches.

        ::

            embed = beam.gather(embed_batch)
            vector = embed(text)               # from any thread
            vector = await embed.acall(text)   # from any task
            future = embed.submit(text)        # without waiting

        ``function`` is given by reference, and takes one item or a list as for :meth:`map`. An
        item goes at once while a worker is free; while all are busy, items join each other, and
        go together once an answer comes.

        - ``max_batch``: the most items in one call; as many go without waiting;
        - ``max_wait``: seconds after which an item is given to the pool though workers are busy;
        - ``key``: a function of an item, run where that is given: only items whose keys are equal
          go together;
        - ``each``: whether the function takes one item, or a list, where its mark or its
          annotations don't say so;
        - ``timeout``: seconds a batch may run on its worker, which is killed then; None, the
          default, for ever;
        - ``as_``: what frame the function takes a batch as, as for :meth:`map`.

        An item that fails fails its own caller: a batch that fails as a whole is split until the
        items at fault are alone. Raises :class:`slither.NotImportable` at once.
        """
        if key is not None and not callable(key):
            raise ValueError(f"key is a function of an item, not {key!r:.80}")
        if each is not None:
            _options.checked("each", each, _options.BOOL)
        spec: dict[str, Payload] = {
            "max_batch": settings.count("max_batch", max_batch),
            "max_wait": round(1_000 * _options.checked("max_wait", max_wait, _WAIT)),
            "timeout": settings.milliseconds("timeout", timeout),
        }
        if as_ is not None:
            spec["as"] = as_
        taking = settings.taking(function, each, several=False, as_=as_)
        return Gather(self, function, key, taking, spec)


def _late(timeout: float | None) -> CallTimeout:
    facts: dict[str, object] = {"kind": "timeout", "timeout": timeout}
    return CallTimeout(
        f"no answer within {timeout} s; raise timeout=, add workers, or send less", facts
    )


def _encoded(key: object, item: object, codec: Codec) -> tuple[bytes, Exception | None]:
    """Encode an item with its key, or return why that can't be."""
    if codec.opaque is not None:
        codec.opaque.begin()
    try:
        body = b"".join((_PAIR, encode(key, "key"), codec.encode(item, "item")))
    except Exception as error:  # noqa: BLE001 - a value of the user's that raises when it is read
        return b"", error
    if len(body) > batches.LIMIT:
        return b"", EncodeError("item", batches.too_large(len(body)))
    return body, None
