"""The values that one call gives, one by one: what a Beam does with a generator.

The thread, or the event loop, that asks for the values runs all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import ParamSpec, TypeVar, overload

from slither import _options
from slither._driver import settings, traces
from slither._driver.errors_in import to_error
from slither._driver.lifetime import Lifetime
from slither._driver.results import AsyncResults, Results
from slither._driver.run import Run
from slither._driver.window import Target, encoded
from slither._errors import PayloadError
from slither._typed.functions import Typed, of_result
from slither._types import Payload
from slither._wire import driving, frames
from slither._wire.build import frame

P = ParamSpec("P")
T = TypeVar("T")


class ValuesRun(Run):
    """Asks BEAM for the next values once those before are taken."""

    kind = "values"

    def __init__(self, beam: Lifetime, spec: dict[str, Payload], typed: Typed | None) -> None:
        """Take all that the run is; ``typed`` makes of a value what the function says of it."""
        super().__init__(beam._link, spec, beam)
        self._typed = typed
        self.pulled = 1
        self._asked = False
        self._given = 0

    @classmethod
    def of(
        cls,
        beam: Lifetime,
        function: Callable[..., object],
        arguments: Iterable[object],
        named: Mapping[str, object],
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> ValuesRun:
        """Return a call of which nothing has been sent yet; its arguments are read now."""
        module, name, held = beam._functions.reference(function)
        call = [(tuple(arguments), dict(named))]
        body, failure = encoded(call, Target(module, name, None), beam._link.codec)
        if failure is not None:
            raise failure
        spec: dict[str, Payload] = {
            "module": module,
            "function": name,
            "call": body,
            "timeout": settings.milliseconds("timeout", timeout),
        }
        if session is not None:
            spec["session"] = _options.checked("session", session, _options.TEXT)
        if (trace := traces.current()) is not None:
            spec["trace"] = trace
        made = cls(beam, spec, of_result(function, "values"))
        made.held = held
        return made

    def given(self) -> dict[str, int]:
        """Return how many values there are."""
        return {"values": self._given}

    def through(self) -> int:
        """Return how many items are answered: the one, at the end."""
        return int(self.ended)

    def room(self) -> int:
        """Return how many items may be sent: the call has all that it needs."""
        return 0

    def feed(self, batch: list[Payload]) -> None:
        """Send nothing."""

    def has_news(self, wait: float = 0.0) -> bool:
        """Tell whether a frame has come, and ask for one where none has."""
        self._ask()
        return super().has_news(wait)

    def take(self) -> list[Payload]:
        """Wait for the next values."""
        self._ask()
        return super().take()

    def _ask(self) -> None:
        # To ask twice, after an interruption between the two steps, has BEAM draw some ahead.
        if not self._asked and not self.ended:
            self.link.send(frame(frames.TAKE, self.identity, 1))
            self._asked = True

    def outputs(self, got: driving.Outputs) -> list[Payload]:
        """Return the values."""
        self._asked = False
        values = self.opened(got)
        if self._typed is not None:
            values = self._restored(self._typed, values)
        self._given += len(values)
        return values

    def _restored(self, typed: Typed, values: list[Payload]) -> list[Payload]:
        made: list[Payload] = []
        for value in values:
            try:
                made.append(typed(value))
            except PayloadError as error:
                self.stop(error)
                break
        return made

    def done(self, got: driving.Done) -> list[Payload]:
        """Take the end."""
        self.summary = self.so_far()
        return []

    def finish(self) -> None:
        """Raise what ended the call, if anything did."""
        if self.stopped is not None:
            raise self.stopped
        if self.error is not None:
            raise to_error(self.error, self.link.objects)


class Streams(Lifetime):
    """The calls of a Beam that give values one by one."""

    @overload
    def stream_call(
        self, function: Callable[P, AsyncIterable[T]], /, *arguments: P.args, **named: P.kwargs
    ) -> Results[T]: ...
    @overload
    def stream_call(
        self, function: Callable[P, Iterable[T]], /, *arguments: P.args, **named: P.kwargs
    ) -> Results[T]: ...
    @overload
    def stream_call(
        self,
        function: Callable[P, Awaitable[Iterable[T]]],
        /,
        *arguments: P.args,
        **named: P.kwargs,
    ) -> Results[T]: ...
    def stream_call(
        self, function: Callable[..., object], /, *arguments: object, **named: object
    ) -> Results[T]:
        """Call a generator once, in a worker, and give what it yields as it does.

        The function, given by reference as for :meth:`map`, returns an iterator, such as a
        generator, plain or asynchronous, or a list. It is called when the first value is
        asked for, and goes on as others are: a value comes as soon as it is there, and a slow
        loop holds nothing up. Values that are made quickly come together, at most 1,000, or
        256 KB, or those of 20 ms; between two such chunks the worker serves other calls.

        To stop early, by ``close()`` or by dropping it, closes the generator: its ``finally``
        runs. What it raises is raised here, after the values before; so is
        :class:`slither.WorkerDied`. Arguments are read at once, and what can't be sent is an
        :class:`slither.EncodeError`.

        ::

            for token in beam.stream_call(generate, "Once upon a time"):
                print(token, end="", flush=True)
        """
        return Results.of(ValuesRun.of(self, function, arguments, named), ())

    @overload
    def stream_call_with(
        self,
        function: Callable[..., AsyncIterable[T]],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> Results[T]: ...
    @overload
    def stream_call_with(
        self,
        function: Callable[..., Iterable[T]],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> Results[T]: ...
    @overload
    def stream_call_with(
        self,
        function: Callable[..., Awaitable[Iterable[T]]],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> Results[T]: ...
    def stream_call_with(
        self,
        function: Callable[..., object],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> Results[T]:
        """Call a generator, as :meth:`stream_call` does, with options of the call beside it.

        - ``timeout``: seconds until the next value, or None for ever; then its worker is killed,
          and :class:`slither.CallTimeout` is raised;
        - ``session``: the name of a session, as for :meth:`submit_with`.
        """
        run = ValuesRun.of(self, function, args, kwargs or {}, timeout=timeout, session=session)
        return Results.of(run, ())

    @overload
    def astream_call(
        self, function: Callable[P, AsyncIterable[T]], /, *arguments: P.args, **named: P.kwargs
    ) -> AsyncResults[T]: ...
    @overload
    def astream_call(
        self, function: Callable[P, Iterable[T]], /, *arguments: P.args, **named: P.kwargs
    ) -> AsyncResults[T]: ...
    @overload
    def astream_call(
        self,
        function: Callable[P, Awaitable[Iterable[T]]],
        /,
        *arguments: P.args,
        **named: P.kwargs,
    ) -> AsyncResults[T]: ...
    def astream_call(
        self, function: Callable[..., object], /, *arguments: object, **named: object
    ) -> AsyncResults[T]:
        """Give the values for ``async for``; otherwise as :meth:`stream_call`."""
        return AsyncResults(ValuesRun.of(self, function, arguments, named), ())

    @overload
    def astream_call_with(
        self,
        function: Callable[..., AsyncIterable[T]],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> AsyncResults[T]: ...
    @overload
    def astream_call_with(
        self,
        function: Callable[..., Iterable[T]],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> AsyncResults[T]: ...
    @overload
    def astream_call_with(
        self,
        function: Callable[..., Awaitable[Iterable[T]]],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> AsyncResults[T]: ...
    def astream_call_with(
        self,
        function: Callable[..., object],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> AsyncResults[T]:
        """Give the values for ``async for``; otherwise as :meth:`stream_call_with`."""
        run = ValuesRun.of(self, function, args, kwargs or {}, timeout=timeout, session=session)
        return AsyncResults(run, ())
