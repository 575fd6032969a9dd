"""The options of stages and error policies, as a pipe's document has them.

Run by whoever writes a pipe, in his thread: :class:`slither.Pipe` calls it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypedDict

from slither._errors import PipeError
from slither._options import (
    BOOL,
    DURATION,
    PAUSE,
    SECONDS,
    TEXT,
    Check,
    either,
    milliseconds,
    whole,
    words,
    wrong,
)
from slither._pipe.document import routed
from slither._pipe.expression import Expression, Operand, data
from slither._takes import KINDS, FrameKind
from slither._types import Payload

if TYPE_CHECKING:
    from typing_extensions import Unpack


_ANYTHING: Check = ("an expression", lambda value: True)
_REASONS: Check = (
    '"any", or a list of reasons',
    lambda value: (
        value == "any"
        or (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value))
    ),
)
_Positive = Annotated[int, whole(1)]
_Pause = Annotated[float, PAUSE]
_Limit = Annotated[float | None, SECONDS]
_Bool = Annotated[bool, BOOL]
_Expression = Annotated[Operand, _ANYTHING]


class PythonOptions(TypedDict, total=False):
    """Options of :meth:`slither.Pipe.python`; times are in seconds, None for no limit."""

    batch_size: Annotated[int | Literal["auto"], either(whole(1), "auto")]
    batch_time: Annotated[float, DURATION]
    min_batch_size: _Positive
    max_batch_size: _Positive
    max_in_flight: _Positive
    max_in_flight_bytes: _Positive
    ordering: Annotated[Literal["preserve", "as_completed"], words("preserve", "as_completed")]
    isolate: _Bool
    timeout: _Limit
    item_timeout: _Limit
    queue_timeout: _Limit
    pool: Annotated[str, TEXT]
    as_: Annotated[FrameKind, words(*KINDS)]
    cardinality: Annotated[Literal["one", "many"], words("one", "many")]
    weight: _Expression
    max_weight: _Positive
    key: _Expression
    window: _Positive


class RetryOptions(TypedDict, total=False):
    """Options of :func:`slither.pipe.retry`; times are in seconds."""

    max_attempts: _Positive
    base: _Pause
    max: _Pause
    jitter: _Bool
    on: Annotated[Literal["any"] | list[str], _REASONS]
    then: Annotated[object, _ANYTHING]


def _checks(options: type) -> dict[str, Check]:
    # The annotation of an option is its check.
    return {name: kept.__metadata__[0] for name, kept in options.__annotations__.items()}


PYTHON = _checks(PythonOptions)
BEAM: dict[str, Check] = {
    "cardinality": words("one", "many"),
    "concurrency": whole(1),
    "batch": BOOL,
}
BATCH: dict[str, Check] = {"size": whole(1), "timeout": SECONDS}
_RETRY = _checks(RetryOptions)
_TIMES = {"timeout", "item_timeout", "queue_timeout", "batch_time"}


def in_ms(options: dict[str, Payload]) -> dict[str, Payload]:
    """Return the options of a stage as a document has them: their times are in ms.

    >>> in_ms({"timeout": 2.5, "queue_timeout": None, "isolate": True, "as_": "pandas"})
    {'timeout': 2500, 'queue_timeout': None, 'isolate': True, 'as': 'pandas'}
    """
    return {
        # A word of the language's own can't name an argument of Python's.
        name.removesuffix("_"): milliseconds(value)
        if name in _TIMES and value is not None
        else value
        for name, value in options.items()
    }


def needs(options: Mapping[str, Payload]) -> str | None:
    """Say which options of a Python stage do not go together, or None."""
    if "weight" in options and "key" in options:
        return "options 'weight' and 'key' are two ways to batch: give one of them"
    if ("weight" in options) != ("max_weight" in options):
        return "options 'weight' and 'max_weight' go together"
    if options.get("cardinality") == "many" and options.get("item_timeout") is not None:
        return "option 'item_timeout' does not go with cardinality='many': give a timeout"
    if options.get("cardinality") == "many" and "as_" in options:
        return "option 'as_' does not go with cardinality='many': a row has one result"
    if "batch_time" in options and isinstance(options.get("batch_size"), int):
        return "option 'batch_time' finds the size of batches, and 'batch_size' sets it: give one"
    if "window" in options and "key" not in options:
        return "option 'window' goes with 'key'"
    return None


class Policy:
    """What becomes of items that fail: made by :func:`route` and :func:`retry`."""

    __slots__ = ("document",)

    def __init__(self, document: Payload) -> None:
        """Keep the document."""
        self.document = document

    def __repr__(self) -> str:
        """Show the document."""
        return f"Policy({self.document!r})"

    @property
    def route(self) -> str | None:
        """The output that it names, if it names one."""
        return routed(self.document)


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
    return Policy({"route": output})


def retry(**options: "Unpack[RetryOptions]") -> Policy:
    """Try failed items again.

    Options: ``max_attempts``, the first included (3); ``base``, the pause before the second in
    seconds (0.1), which doubles up to ``max`` (10), with ``jitter`` (True); ``on``, the reasons
    to retry (``"any"``); ``then``, the policy once the attempts are used up (``"halt"``).

    >>> retry(max_attempts=5, then="skip")
    Policy({'retry': {'max_attempts': 5, 'then': 'skip'}})
    """
    fault = wrong(options, _RETRY)
    if fault is not None:
        raise PipeError(f"retry: {fault}")
    document: dict[str, Payload] = dict(map(_in_document, options.items()))
    if isinstance(document.get("on"), tuple):
        document["on"] = list(document["on"])
    if "then" in document:
        then = policy(document["then"])
        if isinstance(then.document, dict) and "retry" in then.document:
            raise PipeError("retry: then takes 'halt', 'skip' or route(…), not another retry")
        document["then"] = then.document
    return Policy({"retry": document})


def _in_document(option: tuple[str, Payload]) -> tuple[str, Payload]:
    # A document has its times in ms.
    name, value = option
    return (f"{name}_ms", round(value * 1_000)) if name in ("base", "max") else option


def policy(value: object) -> Policy:
    """Read a policy; raises :class:`slither.PipeError` for what is none."""
    if isinstance(value, Policy):
        return value
    if value in ("halt", "skip") and isinstance(value, str):
        return Policy(value)
    raise PipeError(f"a policy is 'halt', 'skip', route(…) or retry(…), got {value!r:.80}")
