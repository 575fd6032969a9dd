"""Error policies of a pipe, as a document has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from slither._errors import PipeError
from slither._pipe.expression import Expression, Operand, data
from slither._pipe.stage_options import RETRY, RetryOptions, wrong

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from slither._types import Payload


class Policy:
    """What becomes of items that fail: made by :func:`route` and :func:`retry`."""

    __slots__ = ("document", "route")

    def __init__(self, document: Payload, route: str | None = None) -> None:
        """Keep the document, and the output it names."""
        self.document = document
        self.route = route

    def __repr__(self) -> str:
        """Show the document."""
        return f"Policy({self.document!r})"


PolicyLike: TypeAlias = Policy | Literal["halt", "skip"]


def route(output: str | Operand) -> Policy:
    """Send failed items to an output, with the error in their ``meta``.

    ``output`` is its name, or an expression over :data:`slither.item` and
    :data:`slither.pipe.error` that gives one.

    >>> route("broken")
    Policy({'route': 'broken'})
    """
    if isinstance(output, Expression):
        return Policy({"route": data(output)})
    if not isinstance(output, str):
        raise PipeError(f"route takes an output's name or an expression, got {output!r:.80}")
    return Policy({"route": output}, output)


def retry(**options: Unpack[RetryOptions]) -> Policy:
    """Try failed items again.

    Options: ``max_attempts``, the first included (3); ``base_ms``, the pause before the second
    (100), which doubles up to ``max_ms`` (10,000), with ``jitter`` (True); ``on``, the reasons
    to retry (``"any"``); ``then``, the policy once the attempts are used up (``"halt"``).

    >>> retry(max_attempts=5, then="skip")
    Policy({'retry': {'max_attempts': 5, 'then': 'skip'}})
    """
    fault = wrong(options, RETRY)
    if fault is not None:
        raise PipeError(f"retry: {fault}")
    document: dict[str, Payload] = dict(options)
    target = None
    if isinstance(document.get("on"), tuple):
        document["on"] = list(document["on"])
    if "then" in document:
        then = policy(document["then"])
        if isinstance(then.document, dict) and "retry" in then.document:
            raise PipeError("retry: then takes 'halt', 'skip' or route(…), not another retry")
        document["then"] = then.document
        target = then.route
    return Policy({"retry": document}, target)


def policy(value: object) -> Policy:
    """Read a policy; raises :class:`slither.PipeError` for what is none."""
    if isinstance(value, Policy):
        return value
    if value in ("halt", "skip") and isinstance(value, str):
        return Policy(value)
    raise PipeError(f"a policy is 'halt', 'skip', route(…) or retry(…), got {value!r:.80}")
