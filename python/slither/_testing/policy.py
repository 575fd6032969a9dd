"""What becomes of an item that failed, decided as BEAM decides it: for pipes that run in Python.

Pure; called by :mod:`slither._testing.simulate`, in the thread of the test.
"""

from __future__ import annotations

from slither._errors import CallError, EncodeError, HandlerError
from slither._testing.evaluate import EvaluationError
from slither._types import Payload

# The reasons that a second attempt can't mend.
_FINAL = frozenset(
    ("not_encodable", "missing_option", "unknown_pool", "unknown_command", "import_failed")
) | frozenset(("expression", "session_lost"))
# Those that a smaller batch may mend.
_SPLITTABLE = frozenset(
    ("python_exception", "wrong_result", "timeout", "memory", "worker_died", "executor_failed")
) | frozenset(("too_large", "not_decodable", "python_error"))


class Policy:
    """The error policy of a stage, from its document."""

    def __init__(self, document: Payload) -> None:
        """Take it, with or without attempts before the last resort."""
        retry = document.get("retry") if isinstance(document, dict) else None
        self._retry: dict[str, Payload] | None = retry
        self.last: Payload = document if retry is None else retry.get("then", "halt")
        """``halt``, ``skip`` or a route."""

    def tries_again(self, attempt: int, error: Exception) -> bool:
        """Tell whether an item that failed in this attempt has another one."""
        if self._retry is None or attempt >= self._retry.get("max_attempts", 3):
            return False
        on = self._retry.get("on", "any")
        return reason(error) not in _FINAL if on == "any" else reason(error) in on


def is_splittable(error: Exception) -> bool:
    """Tell whether a half of the batch may go well."""
    return reason(error) in _SPLITTABLE


def reason(error: Exception) -> str:
    """Return BEAM's word for why an item failed."""
    if isinstance(error, EncodeError):
        return "not_encodable"
    if isinstance(error, HandlerError) or not isinstance(error, CallError):
        return "python_exception"
    return error.kind


def facts(error: Exception, attempts: int) -> dict[str, Payload]:
    """Return what an expression of a policy sees as :data:`slither.pipe.error`."""
    why = reason(error)
    kind = error.type if isinstance(error, HandlerError) else type(error).__name__
    return {
        "reason": why,
        "message": str(error),
        "type": kind if why == "python_exception" else None,
        "attempts": attempts,
    }


def as_told(error: Exception) -> Exception:
    """Return the error that a program gets for what an expression or a function raised."""
    if isinstance(error, EvaluationError):
        return CallError(str(error), {"kind": "expression", "error": error.kind})
    return error
