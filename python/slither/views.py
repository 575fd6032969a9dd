"""Read BEAM state from a handler: every view is a function of this module.

``views.lookup_feature(key="user:42")`` calls the view ``lookup_feature`` with its keyword
arguments as one map. Each failure is a :class:`slither.ViewError` that names the view.

Views work from any thread of a worker. A thread asks for the call in which it was started, and
what is submitted to a ``ThreadPoolExecutor`` for the call in which that was done; when that call
is over, a view of a session has ended for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slither._errors import (
    InvalidParams,
    SessionEnded,
    SlitherError,
    UnknownView,
    ViewBusy,
    ViewError,
    ViewFailed,
    ViewTimeout,
)
from slither._options import SECONDS, checked, milliseconds
from slither._types import Payload
from slither._worker import current
from slither._worker.answers import Failures, value_of

__all__ = ["call", "map"]

_KINDS = {
    "unknown_view": UnknownView,
    "view_failed": ViewFailed,
    "view_timeout": ViewTimeout,
    "view_busy": ViewBusy,
    "session_ended": SessionEnded,
    "invalid_params": InvalidParams,
}
_FAILURES = Failures(_KINDS, other=ViewError, unsent=InvalidParams, lost=ViewFailed)


def call(name: str, params: Payload = None, timeout: float | None = None) -> Payload:
    """Call a view with one argument and return its answer.

    ``name`` is the view's, ``params`` any value, ``timeout`` the seconds that it may take, where
    they are fewer than the view's own. Raises :class:`slither.ViewError`, or
    :class:`slither.SlitherError` outside a worker.

    >>> call("lookup_feature", {"key": "user:42"}, timeout=0.5)
    Traceback (most recent call last):
        ...
    slither._errors.SlitherError: view 'lookup_feature' was called outside a worker; ...
    """
    return _ask(name, 0, params, timeout)


def map(name: str, params: Sequence[Payload], timeout: float | None = None) -> list[Payload]:
    """Call a view once for each argument, in one round trip, and return the list of answers.

    ``params`` is a list of arguments; ``timeout``, in seconds, is for the whole. Raises
    as :func:`call` does.

    >>> map("lookup_feature", [{"key": "a"}, {"key": "b"}])
    Traceback (most recent call last):
        ...
    slither._errors.SlitherError: view 'lookup_feature' was called outside a worker; ...
    """
    arguments = list(params)
    answers = _ask(name, 1, arguments, timeout)
    if not isinstance(answers, list) or len(answers) != len(arguments):
        raise ViewFailed(name, f"the answer is no list of {len(arguments)} values")
    return answers


def __getattr__(name: str) -> Callable[..., Payload]:
    # doctest, pydoc and pytest ask for such names; no view has them.
    if name.startswith(("_", "pytest")):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def view(**params: Payload) -> Payload:
        return _ask(name, 0, params, None)

    view.__name__ = view.__qualname__ = name
    return view


def _ask(name: str, mode: int, params: Payload, timeout: float | None) -> Payload:
    if not isinstance(name, str):
        raise TypeError(f"a view's name is a str, not {name!r}")
    given = checked("timeout", timeout, SECONDS)
    limit = None if given is None else milliseconds(given)
    link = current.link
    if link is None:
        raise SlitherError(
            f"view {name!r} was called outside a worker; views answer in code that a Slither "
            "pool runs"
        )
    call = current.call_id()
    return value_of(lambda: link.ask_view(call, name, mode, params, limit), name, _FAILURES)
