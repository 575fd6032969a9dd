"""What a Beam does with one call.

Any thread of the program's runs it; it queues the call and returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import ParamSpec, TypeVar, overload

from slither import _options
from slither._driver import settings
from slither._driver.callee import Callee
from slither._driver.futures import CallFuture
from slither._driver.lifetime import Lifetime
from slither._driver.window import Group
from slither._typed.functions import of_result

P = ParamSpec("P")
R = TypeVar("R")


class Singles(Lifetime):
    """The single calls of a Beam."""

    @overload
    def submit(
        self, function: Callable[P, Awaitable[R]], /, *arguments: P.args, **named: P.kwargs
    ) -> CallFuture[R]: ...
    @overload
    def submit(
        self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs
    ) -> CallFuture[R]: ...
    def submit(
        self, function: Callable[..., object], /, *arguments: object, **named: object
    ) -> CallFuture[R]:
        """Call a function once, in a worker, and return a future for what it returns.

        The function is given by reference, as for :meth:`map`; arguments and result cross as all
        values do. A coroutine is awaited in the worker. Arguments are read
        before this returns; one that can't be sent fails the future. The future can be cancelled
        until a worker has the call, and ended with ``kill()`` from then on. It keeps the Beam
        alive; done callbacks run in a thread of their own, one after the other.
        """
        found = self._functions.called(function)
        callee = Callee.of(found, None, typed=of_result(function, "item"))
        return self._submit(callee, arguments, named)

    @overload
    def submit_with(
        self,
        function: Callable[..., Awaitable[R]],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> CallFuture[R]: ...
    @overload
    def submit_with(
        self,
        function: Callable[..., R],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> CallFuture[R]: ...
    def submit_with(
        self,
        function: Callable[..., object],
        args: Iterable[object] = (),
        kwargs: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        session: str | None = None,
    ) -> CallFuture[R]:
        """Call a function once, as :meth:`submit` does, with options of the call beside it.

        - ``timeout``: seconds that the call may run, or None for ever; then its worker is killed,
          and the future has a :class:`slither.CallTimeout`;
        - ``session``: the name of a session. Its calls run on one worker, in the order in which
          they were submitted, and ``slither.worker.session()`` is the same dict in all of them.
          When that worker has died, they fail until :meth:`end_session`.
        """
        limit = settings.milliseconds("timeout", timeout)
        found = self._functions.called(function)
        if session is not None:
            _options.checked("session", session, _options.TEXT)
        callee = Callee.of(found, limit, session, of_result(function, "item"))
        return self._submit(callee, tuple(args), dict(kwargs or {}))

    def _submit(
        self,
        callee: Callee,
        arguments: tuple[object, ...],
        named: dict[str, object],
        group: Group | None = None,
    ) -> CallFuture[R]:
        return self._calls.submit(
            self,
            callee.target,
            [callee.call(arguments, named)],
            group=group,
            called=callee.called,
            held=callee.held,
            typed=callee.typed,
        )
