"""Every exception that Slither raises on purpose.

::

    SlitherError
    ├── ProtocolError          the other side broke the wire contract
    ├── EncodeError            a value can't be sent; ``path`` says which
    ├── DecodeError            bytes that are not a value of the protocol
    │   └── UnknownBlob        a value in shared memory that is gone
    ├── PayloadError           a value is not what an annotation says; also a TypeError
    ├── ViewError              a view gave no answer; ``view`` names it
    │   ├── UnknownView
    │   ├── ViewFailed
    │   ├── ViewTimeout
    │   ├── ViewBusy
    │   ├── SessionEnded
    │   └── InvalidParams
    ├── TableError             a table refused; ``table`` names it
    │   ├── UnknownTable
    │   └── TableRefused
    ├── PipeError              a pipe's definition is wrong; ``where`` says in which line
    ├── ExpressionError        an expression can't be built so; also a TypeError
    ├── NotImportable          a function that workers can't import
    ├── BeamError              a program could not drive BEAM
    │   ├── BeamMissing        Erlang, or Slither's BEAM side, is not installed
    │   ├── BeamClosed         the Beam was closed
    │   └── BeamDied           BEAM has ended; ``log`` holds its last lines
    ├── CallError              an item failed; ``kind`` says why, ``item`` which
    │   ├── HandlerError       the function raised what can't be raised again here
    │   ├── CallTimeout        also a TimeoutError
    │   ├── MemoryExceeded     also a MemoryError
    │   ├── CallKilled         somebody ended it with ``future.kill()``
    │   └── WorkerDied
    └── RunError               a run stopped; ``partial`` holds what had come out
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from slither._summary import Summary


class SlitherError(Exception):
    """The base of everything that Slither raises."""


class _Reasoned(SlitherError):
    """The base of what names a thing, and says what is wrong with it."""

    _words = "{}: {}"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.reason = reason

    def __str__(self) -> str:
        return self._words.format(*self.args)


class ProtocolError(SlitherError):
    """A frame that breaks the wire contract."""


class EncodeError(_Reasoned):
    """A value that the protocol does not carry.

    Arguments: ``path``, where the value sits (``result["tags"][3]``), and ``reason``.

    >>> str(EncodeError('result["tags"]', "a range cannot be sent; make it a list"))
    'result["tags"]: a range cannot be sent; make it a list'
    """

    def __init__(self, path: str, reason: str) -> None:
        """Keep the path and the reason."""
        super().__init__(path, reason)
        self.path = path
        self.facts: dict[str, object] = {}


class DecodeError(SlitherError):
    """Bytes that are not one whole value of the protocol."""


class UnknownBlob(DecodeError):
    """A value in shared memory that is gone, or was of another BEAM."""


class PayloadError(_Reasoned, TypeError):
    """A value is not of the type that the annotation of a handler says.

    Arguments: ``path``, where the value sits (``payload["points"][3].x``), and ``reason``.

    >>> str(PayloadError("payload.x", 'float expected, not the str "far"'))
    'payload.x: float expected, not the str "far"'
    """

    def __init__(self, path: str, reason: str) -> None:
        """Keep the path and the reason."""
        super().__init__(path, reason)
        self.path = path


class ViewError(_Reasoned):
    """A view gave no answer.

    Arguments: ``view``, its name, and ``reason``.

    >>> str(ViewError("lookup", "the store is gone"))
    "view 'lookup': the store is gone"
    """

    _words = "view {!r}: {}"

    def __init__(self, view: str, reason: str) -> None:
        """Keep the view's name and the reason."""
        super().__init__(view, reason)
        self.view = view


class UnknownView(ViewError):
    """No view of that name is registered on the BEAM side."""


class ViewFailed(ViewError):
    """The view's handler failed, or its answer can't be sent."""


class ViewTimeout(ViewError):
    """The view did not answer in time."""


class ViewBusy(ViewError):
    """Too many view calls are out at once."""


class SessionEnded(ViewError):
    """A session's view was called after the session ended."""


class InvalidParams(ViewError):
    """The params have the wrong shape or can't be sent."""


class TableError(_Reasoned):
    """A table refused an operation.

    Arguments: ``table``, its name, and ``reason``.

    >>> str(TableError("features", "the store is gone"))
    "table 'features': the store is gone"
    """

    _words = "table {!r}: {}"

    def __init__(self, table: str, reason: str) -> None:
        """Keep the table's name and the reason."""
        super().__init__(table, reason)
        self.table = table


class UnknownTable(TableError):
    """No table of that name is declared for Python on the BEAM side."""


class TableRefused(TableError):
    """A write to a table that is declared read-only for Python."""


class PipeError(SlitherError, ValueError):
    """A pipe's definition is wrong.

    Arguments: ``reason``, and ``where``, the file and line of the call that is at fault.

    >>> str(PipeError("no stage 'a'", "my_pipes.py:12"))
    "my_pipes.py:12: no stage 'a'"
    """

    def __init__(self, reason: str, where: str | None = None) -> None:
        """Keep the reason and the place."""
        super().__init__(reason, where)
        self.reason = reason
        self.where = where

    def __str__(self) -> str:
        """Say where and why."""
        return f"{self.where}: {self.reason}" if self.where else self.reason


class ExpressionError(SlitherError, TypeError):
    """An expression that can't be built, or was taken for a value in Python."""


class NotImportable(SlitherError, TypeError):
    """A function that a worker can't import by its module and name."""


class BeamError(SlitherError):
    """A program could not drive BEAM."""


class BeamMissing(BeamError):
    """Erlang, or Slither's BEAM side, is not there; the message says how to get it."""


class BeamClosed(BeamError, RuntimeError):
    """The Beam was closed before, or while, something was asked of it."""


class BeamDied(BeamError):
    """BEAM has ended.

    Arguments: ``reason``; ``status``, its exit status where that is known, negative for a
    signal; and ``log``, the last lines it logged.

    >>> print(BeamDied("BEAM was killed", -9, ["[error] out of memory"]))
    BEAM was killed
    Its last lines:
      [error] out of memory
    """

    def __init__(
        self, reason: str, status: int | None = None, log: list[str] | None = None
    ) -> None:
        """Keep the reason, the status and the lines."""
        super().__init__(reason, status, log)
        self.reason = reason
        self.status = status
        self.log = list(log or ())

    def __str__(self) -> str:
        """Say why, with the last lines."""
        if not self.log:
            return self.reason
        return "\n  ".join((f"{self.reason}\nIts last lines:", *self.log))


class CallError(SlitherError):
    """An item failed.

    Arguments: ``message``, and ``facts``, a dict whose ``kind`` says why: ``timeout``,
    ``memory``, ``worker_died``, ``not_encodable``, ``import_failed``, ``wrong_result``,
    ``handler_failure``…

    >>> error = CallError("no such user", {"kind": "handler_failure", "item": 3})
    >>> error.kind, error.item, str(error)
    ('handler_failure', 3, 'no such user')
    """

    def __init__(self, message: str, facts: dict[str, object] | None = None) -> None:
        """Keep the message and the facts."""
        super().__init__(message, facts)
        self.message = message
        self.facts = dict(facts or {})

    def __str__(self) -> str:
        """Give the message."""
        return self.message

    @property
    def kind(self) -> str:
        """Why it failed, as a word that a program can match."""
        return str(self.facts.get("kind", "unknown"))

    @property
    def item(self) -> int | None:
        """The position of the item in the input, from 0, where one item is at fault."""
        item = self.facts.get("item")
        return item if isinstance(item, int) else None

    @property
    def stack(self) -> str | None:
        """Where each thread of the worker was when the call was ended, with its worker.

        Innermost frames first. None for a call that ended otherwise, and where it can't be told.
        """
        stack = self.facts.get("stack")
        return stack if isinstance(stack, str) else None


class HandlerError(CallError):
    """The function raised an exception that can't be raised again here.

    Its class is not known in this program, or its objects can't be made. ``type`` names it, and
    ``attributes`` has what could be sent of it; the cause holds its traceback in the worker. It
    is also an instance of the nearest built-in exceptions that the class is of, so that
    ``except ValueError`` catches one that stands for a ``ValueError``.
    """

    @property
    def attributes(self) -> dict[str, object]:
        """The exception's attributes by name, as far as they could be sent."""
        told: Any = self.facts.get("raised") or [{}]
        return dict(told[0].get("attributes", {}))

    @property
    def type(self) -> str:
        """The name of the exception's class."""
        return str(self.facts.get("type", "Exception"))


class CallTimeout(CallError, TimeoutError):
    """The call, or one item of it, ran for too long, and was ended."""


class MemoryExceeded(CallError, MemoryError):
    """The worker took more than the pool's ``max_memory`` in the call, and was ended.

    ``facts`` has ``limit`` and ``taken``, in bytes, and ``processes``: those of the worker and of
    what it had started, a dict each with ``os_pid``, ``name`` and ``bytes``, the largest first.
    """


class CallKilled(CallError):
    """The call was ended, with its worker, by ``future.kill()`` or ``executor.kill()``."""


class WorkerDied(CallError):
    """The worker died while it ran the call."""


class RunError(SlitherError):
    """A run stopped before its input was through.

    The cause is what stopped it. ``partial`` holds what had reached the outputs, by name, and
    ``summary`` the account where there is one.
    """

    def __init__(
        self,
        message: str,
        partial: dict[str, list[object]] | None = None,
        summary: Summary | None = None,
    ) -> None:
        """Keep the message, the outputs and the account."""
        super().__init__(message)
        self.partial = partial or {}
        self.summary = summary
