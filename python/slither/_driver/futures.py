"""The future of a single call, and what comes for it.

The reader settles it, or the relay where somebody holds its lock; whoever asks for its result
decodes that, in his thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from slither._driver.connection import Connection
from slither._driver.errors_in import to_exception
from slither._driver.sharing import Sharing
from slither._errors import PayloadError, SlitherError
from slither._typed.functions import Typed
from slither._wire import batches, blobs, driving, late

R = TypeVar("R")

Outcome = tuple[bool, Any]
"""Whether a call returned, and what it returned or raised."""

# Seconds that the reader, and then the relay or the writer, waits for the lock of a future, which
# an interrupted thread may never release.
_BRIEF, _LOCKED = 0.05, 1.0


class Answer:
    """What came for a job, as bytes, or why nothing will: read by who asks for it."""

    __slots__ = ("_error", "_got", "_many", "_sharing")

    def __init__(
        self,
        got: driving.Outputs | None,
        error: Callable[[], Exception] | None,
        many: bool,
        sharing: Sharing | None = None,
    ) -> None:
        """Take the frame, or what makes an exception in its place.

        In ``sharing`` is what of it came by shared memory, until it is read.
        """
        self._got, self._error, self._many = got, error, many
        self._sharing = sharing

    @property
    def failed(self) -> bool:
        """Whether a future of it has an exception."""
        return self._got is None or (not self._many and bool(self._got.errors))

    def read(self, link: Connection, typed: Typed | None = None) -> Outcome:
        """Decode it, and open what in it went by value.

        ``typed`` makes each result what its function says that it gives.
        """
        if self._got is None:
            assert self._error is not None
            return False, self._error()
        try:
            outcomes = _outcomes(self._got, link)
        except SlitherError as error:
            return False, error
        finally:
            if self._sharing is not None:
                self._sharing.close()
        if typed is not None:
            outcomes = [_restored(typed, outcome) for outcome in outcomes]
        return (True, outcomes) if self._many else outcomes[0]


class _Unread(Exception):
    """Stands in a future for an exception that nobody has asked for yet."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class Killable(Protocol):
    """A call that may be out."""

    def kill(self) -> None:
        """Have BEAM end it, if it is out; in the writer."""


class CallFuture(Future[R]):
    """The future of a call. It keeps its Beam alive, and can end a call that runs."""

    def __init__(self, owner: object, connection: Connection, typed: Typed | None = None) -> None:
        """Take who lives as long as it does, and what makes a result what it is to be."""
        super().__init__()
        self._typed = typed
        self._owner = owner
        self._connection = connection
        self.job: Killable | None = None
        """The call, once it is queued."""

    def result(self, timeout: float | None = None) -> R:
        """Return what the call returned, or raise what it raised, as any future does."""
        if not self.done():
            self._connection.refuse_ourselves()
        try:
            value: Any = super().result(timeout)
        except _Unread as unread:
            value = unread.answer
        self._connection.relay.catch_up()
        if not isinstance(value, Answer):
            return value  # type: ignore[no-any-return]
        fine, made = self._made(value)
        if fine:
            return made  # type: ignore[no-any-return]
        try:
            raise made
        finally:
            # The exception's traceback refers to this frame.
            # Drop the references back, or they form a cycle.
            del made, self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None, as any future does."""
        if not self.done():
            self._connection.refuse_ourselves()
        error = super().exception(timeout)
        self._connection.relay.catch_up()
        if isinstance(error, _Unread):
            made: BaseException = self._made(error.answer)[1]
            return made
        if error is None:
            value: Any = super().result(0)
            fine, made = self._made(value) if isinstance(value, Answer) else (True, value)
            return None if fine else made
        return error

    def kill(self) -> bool:
        """End the call, with the worker that runs it; return False where it has ended already.

        It costs this call alone: others that the worker holds go to another, and it is replaced.
        The future has a :class:`slither.CallKilled` then. One that has not begun is cancelled.
        """
        if self.cancel():
            return True
        job = self.job
        if self.done() or job is None:
            return False
        self._connection.writer.order(job.kill)
        return True

    def _made(self, answer: Answer) -> Outcome:
        # The first thread that asks makes the object, and all others get the same one.
        made: Outcome = self.__dict__.setdefault(
            "_read", answer.read(self._connection, self._typed)
        )
        return made

    def _invoke_callbacks(self) -> None:
        # Callbacks are the user's code, which neither the reader nor the writer runs.
        if not self._connection.is_ours():
            super()._invoke_callbacks()  # type: ignore[misc]
        elif self._done_callbacks:  # type: ignore[attr-defined]
            self._connection.relay.call(super()._invoke_callbacks)  # type: ignore[misc]

    def settle(self, answer: Answer) -> None:
        """Give it its answer, or have the relay do so where somebody holds its lock."""
        lock = self._condition
        # A thread that asks for the result holds the lock
        # only for a moment, so a short wait will do.
        if lock.acquire(timeout=_BRIEF):
            try:
                self._set(answer)
            finally:
                lock.release()
        else:
            self._connection.relay.call(lambda: self._settle_late(answer))

    def begin(self) -> bool:
        """Note that its call goes out; False where it was cancelled. In the writer."""
        with self._unlocked():
            if self.done() and not self.cancelled():
                # Somebody else has set its result: nobody waits for the call.
                return False
            return self.set_running_or_notify_cancel()

    def give_up(self) -> bool:
        """Cancel it as :meth:`cancel` does; in the writer."""
        with self._unlocked():
            return self.cancel()

    def _settle_late(self, answer: Answer) -> None:
        with self._unlocked():
            self._set(answer)

    @contextmanager
    def _unlocked(self) -> Iterator[None]:
        lock = self._condition
        held = lock.acquire(timeout=_LOCKED)
        if not held:
            # A Ctrl-C can leave the lock taken for ever,
            # so it is replaced for all other threads.
            self._condition = type(lock)()
        try:
            yield
        finally:
            if held:
                lock.release()

    def _set(self, answer: Answer) -> None:
        # A future that has its answer no longer keeps its Beam alive.
        self._owner = None
        if self.done():
            # Somebody else has set its result.
            return
        if answer.failed:
            self.set_exception(_Unread(answer))
        else:
            self.set_result(answer)  # type: ignore[arg-type]


def _restored(typed: Typed, outcome: Outcome) -> Outcome:
    fine, value = outcome
    if not fine:
        return outcome
    try:
        return True, typed(value)
    except PayloadError as error:
        return False, error


def _outcomes(got: driving.Outputs, link: Connection) -> list[Outcome]:
    objects = link.objects
    values = batches.unpack(got.values, got.count, link.codec)
    with blobs.taking():
        closed = late.each(values)
    outcomes: list[Outcome] = [(True, value) for value in values]
    for index, error in closed.items():
        outcomes[index] = (False, error)
    for index, fault in (got.errors or {}).items():
        outcomes[index] = (False, to_exception(fault, objects))
    return outcomes
