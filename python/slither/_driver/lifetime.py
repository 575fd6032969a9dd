"""A BEAM from its start to its end: what every Beam is, whatever runs on it.

The threads of the program run this, and any of them may close it; so does the end of the program.
"""

from __future__ import annotations

import asyncio
import atexit
import weakref
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from slither import _options
from slither._by_value import plain
from slither._driver import logs, settings
from slither._driver.by_value import Functions
from slither._driver.calls import Calls
from slither._driver.connection import Connection
from slither._status import Status, made
from slither._types import Payload

if TYPE_CHECKING:
    from typing_extensions import Self


class Lifetime:
    """Holds the connection, and ends BEAM with the block, the program, or its last holder."""

    def __init__(
        self,
        facts: dict[str, Payload],
        workers: int,
        shutdown_timeout: float,
        warn_after: float | None,
        functions: Functions,
    ) -> None:
        self._workers = workers
        self._shutdown_timeout = shutdown_timeout
        self._link = Connection(facts, logs.show)
        self._functions = functions
        functions.use(self._link)
        self._calls = Calls(self._link, workers, warn_after)
        # The finaliser closes a Beam that nothing refers to any more. At the end of the
        # program `_at_exit` closes it instead, and waits for its calls first.
        weakref.finalize(self, self._link.begin_close, shutdown_timeout).atexit = False
        _open[self._link] = self._calls, shutdown_timeout

    def __enter__(self) -> Self:
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

    async def __aenter__(self) -> Self:
        """Return the Beam itself, once a worker is ready; the event loop goes on meanwhile."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self.wait_ready)
        except BaseException:
            self._link.begin_close(self._shutdown_timeout)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; the event loop goes on meanwhile."""
        leave = partial(self.__exit__, kind, error, trace)
        await asyncio.get_running_loop().run_in_executor(None, leave)

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
        """How many workers the pool has, or may have where it grows by itself."""
        return self._workers

    @property
    def dashboard(self) -> str | None:
        """The address of its page, with the token if one was made; None where it has none."""
        found: str | None = self._link.settled.get("dashboard")
        return found

    def status(self) -> Status:
        """Return what the pool does now: what each worker runs, who waits, how busy it is.

        ``print(beam.status())`` shows it as a table.
        """
        return made(self._link.request("status", {}))

    def stacks(self) -> list[dict[str, Payload]]:
        """Return where the code of each worker is now: what runs, and what hangs.

        A list of dicts of ``worker`` and ``pid``; ``call``, the function that it runs, or None;
        and ``stack``, the text of each thread, innermost frames first: empty where no code of
        yours runs, None where it can't be told (elsewhere than on Linux, say). The workers go on
        as if nobody had asked.
        """
        found: list[dict[str, Payload]] = self._link.request("stacks", {})
        for one in found:
            one["call"] = one["call"] and plain(one["call"])
        return found

    def restart(self) -> None:
        """Replace all workers, one after the other, so that changed code comes into service.

        No call fails: a worker finishes what it has, and hands its sessions over where they can
        move. Returns when all workers are new ones. Raises :class:`slither.CallError` where a new
        one can't start: the rest stay in service.
        """
        self._link.request("restart", {})

    def resize(self, workers: int | tuple[int, int]) -> None:
        """Change how many workers there are, 1 to 1,000; no call fails.

        With a pair of the least and the most, the pool grows and shrinks within it from then on;
        with a number it keeps that. Returns when as many serve. Raises
        :class:`slither.CallError` where a new one can't start: the pool keeps its size.
        """
        size, most = settings.workers(workers)
        self._link.request("resize", {"size": size})
        self._workers = most
        self._calls.resized(most)

    def end_session(self, session: str) -> None:
        """End a session after the calls of it that came before; its state in Python is dropped.

        One that is not there, or whose worker has died, is no error: it can begin anew.
        """
        _options.checked("session", session, _options.TEXT)
        self._calls.end_session(session)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until a worker is ready, at most ``timeout`` seconds.

        Raises :class:`slither.CallError` with the reason where none can start.
        """
        self._link.request("await_ready", {"timeout": settings.duration("timeout", timeout)})

    def logs(self) -> list[str]:
        """Return the last lines that BEAM logged, newest last."""
        return self._link.child.lines()


_open: weakref.WeakKeyDictionary[Connection, tuple[Calls, float]] = weakref.WeakKeyDictionary()


def _at_exit() -> None:
    # Submitted calls finish first, as with an executor of the standard library. Runs do not,
    # since nobody asks for their results any more.
    for connection, (calls, timeout) in list(_open.items()):
        try:
            calls.await_none(calls.all)
        finally:
            connection.close(timeout)


atexit.register(_at_exit)
