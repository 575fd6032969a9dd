"""What a Beam does with one call.

Any thread of the program's runs it; it queues the call and returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from slither._driver import settings
from slither._driver.functions import reference
from slither._driver.futures import CallFuture
from slither._driver.lifetime import Lifetime
from slither._driver.window import Group

R = TypeVar("R")


class Singles(Lifetime):
    """The single calls of a Beam."""

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
