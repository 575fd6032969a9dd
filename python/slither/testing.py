"""For tests: handlers, views, tables and pipes without BEAM, and pytest's fixture with one.

::

    from slither.testing import FakeBeam, run_handler, run_pipe

    def test_scores() -> None:
        assert run_handler(score, [{"text": "a"}]) == [{"text": "a", "score": 0.1}]

    def test_known_users() -> None:
        with FakeBeam(tables={"users": {7: {"tier": "gold"}}}):
            assert run_handler(tiers, [7]) == ["gold"]

    def test_routes() -> None:
        outputs = run_pipe(pipe, [{"text": "a"}])
        assert outputs["review"] == [{"text": "a"}]

Items and results pass through the codec both ways, so that what would not survive the way to BEAM
does not survive here. pytest finds the fixture ``slither_beam``, a real :class:`slither.Beam` of
two workers for the whole session, by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from slither import _takes
from slither._driver.errors_in import to_error
from slither._errors import PayloadError, SlitherError
from slither._takes import FrameKind
from slither._testing.fake import FakeBeam
from slither._typed.functions import Typed, Way, of_result
from slither._types import Payload
from slither._version import MAX_FRAME
from slither._wire import frames, late
from slither._wire.build import frame
from slither._worker import current, execute

if TYPE_CHECKING:
    from slither._outputs import Outputs
    from slither.pipe import Pipe

__all__ = ["FakeBeam", "run_handler", "run_pipe"]

Context: TypeAlias = "dict[str, Payload]"

# Calls whose values are drawn have numbers of their own: one may run within another.
_numbers = itertools.count(1_000_000)
# How a call's target says what its function takes.
_KINDS = {None: "each", True: "item", False: "function"}
# BEAM's words for the kinds of errors that a worker tells of.
_REASONS = {
    "exception": "python_exception",
    "failure": "handler_failure",
    "import": "import_failed",
    "not_a_list": "wrong_result",
    "wrong_length": "wrong_result",
}


def run_handler(
    handler: Callable[..., object],
    items: Iterable[Payload],
    *,
    each: bool | None = None,
    run: str | None = "test",
    pipe: str | None = None,
    stage: str | None = None,
    session: str | None = None,
    trace: str | None = None,
    batch: int = 0,
    attempt: int = 1,
    many: bool = False,
    as_: FrameKind | None = None,
) -> list[Payload]:
    """Run a handler on one batch, as a worker does, and return its results.

    ``handler`` takes the list of items, or each one by itself, as :meth:`slither.Pipe.python`
    tells by ``each``, its mark and its annotations; the other arguments are its context. An item
    that failed has its exception in its place; what fails the batch is raised, as
    :meth:`slither.Beam.map` would raise it. A generator that fails midway fails the batch, too.
    State in :func:`slither.worker.session` stays from call to call of a session, or of a run.
    With ``many``, as of a stage with ``cardinality="many"``, each result is the list of an item's
    values; the exception of one that failed stands behind them. ``as_`` gives it the batch as one
    frame, as the option of a stage does. Results are what the handler's annotation says, as those
    of a map are.

    >>> from slither.worker import Failure
    >>> run_handler(lambda row: 2 * row, [1, 2])
    [2, 4]
    >>> run_handler(lambda rows: [Failure("no"), range(1)], ["a", "b"], each=False)
    [CallError('no', ...), EncodeError('result', 'a range cannot be sent; make it a list')]
    >>> run_handler(lambda text: iter(text), ["ab", ""], many=True)
    [['a', 'b'], []]
    """
    results = _as_data(
        handler,
        items,
        each=each,
        as_=as_,
        run=run,
        pipe=pipe,
        stage=stage,
        session=session,
        trace=trace,
        batch=batch,
        attempt=attempt,
        many=many,
    )
    if _takes.checked_frame(handler, as_, each) is not None:
        return results
    typed = of_result(handler, _way(handler, each, many))
    if typed is None:
        return results
    if many:
        return [[_restored(typed, value) for value in values] for values in results]
    return [_restored(typed, value) for value in results]


def _way(handler: Callable[..., object], each: bool | None, many: bool) -> Way:
    way = _takes.given(handler, each).what
    if many:
        return "values" if way == "item" else "parts"
    return way


def _restored(typed: Typed, value: Payload) -> Payload:
    if isinstance(value, Exception):
        return value
    try:
        return typed(value)
    except PayloadError as error:
        return error


def _as_data(
    handler: Callable[..., object],
    items: Iterable[Payload],
    *,
    each: bool | None = None,
    as_: FrameKind | None = None,
    batch: int = 0,
    attempt: int = 1,
    many: bool = False,
    **names: str | None,
) -> list[Payload]:
    """Run a handler as :func:`run_handler` does, and return its results as BEAM has them."""
    context: Context = {"run": "test", **dict.fromkeys(("pipe", "stage", "session", "trace"))}
    context |= names
    if _takes.checked_frame(handler, as_, each) is None:
        _takes.given(handler, each)
    else:
        each, context = False, {**context, "as": as_}
    target = [_KINDS[each], "test", getattr(handler, "__name__", "test")]

    def ask(
        number: int, target: list[str], context: Context, items: list[Payload]
    ) -> frames.Result:
        body = frame(frames.CALL, number, target, context, batch, attempt, items)
        call = frames.parse(body)
        assert isinstance(call, frames.Call)
        if late.met():
            current.sealed.add(call.id)
        with current.entered(call):
            pieces = execute.answer(call, 0, MAX_FRAME, handler=handler)
        current.sealed.discard(call.id)
        got = frames.parse(b"".join(pieces))
        if isinstance(got, frames.Error):
            raise to_error(_beams(got.error))
        assert isinstance(got, frames.Result)
        return got

    if many:
        if context["run"] is None and context["session"] is None:
            raise ValueError("many values belong to a run or to a session: give one of them")
        return _drawn(ask, target, {**context, "many": True}, list(items))
    got = ask(1, target, context, list(items))
    results = list(got.results)
    for index, error in late.each(results).items():
        results[index] = error
    for index, fault in (got.errors or {}).items():
        results[index] = to_error(_beams(fault, index))
    return results


def run_pipe(
    pipe: Pipe,
    items: Iterable[Payload],
    *,
    functions: Mapping[str, Callable[..., Payload]] | None = None,
    handlers: Mapping[str, Callable[..., object]] | None = None,
) -> Outputs:
    """Run a pipe in this process, and return what :meth:`slither.Beam.run` would.

    Expressions are evaluated by the law of BEAM. ``functions`` stand in for those of BEAM's
    configuration, by name: each takes a payload, or a list where its stage says ``batch``.
    ``handlers`` run in place of stages' own, by the stage's name: unless one is marked, it takes
    what the stage's own does. Retries do not pause, nothing
    times out, and all keep their order. Stages run one after the other, each on all items. The
    ``message`` of an error, in an expression of a policy, has no place and no traceback. Raises
    :class:`slither.RunError` as :meth:`slither.Beam.run` does, and
    :class:`slither.SlitherError` for what it can't do.

    >>> from slither import Pipe, item
    >>> long = Pipe("long").route("by_length", long=item.len() > 3).output("long")
    >>> run_pipe(long, ["a", "four"])
    {'long': ['four'], 'default': ['a']}
    """
    from slither._testing.simulate import Simulation

    return Simulation(pipe._whole(), _as_data, functions or {}, handlers or {}).run(items)


def _drawn(
    ask: Callable[[int, list[str], Context, list[Payload]], frames.Result],
    target: list[str],
    context: Context,
    items: list[Payload],
) -> list[Payload]:
    number = next(_numbers)
    drawn: list[Payload] = [[] for _ in items]
    left = set(range(len(items)))
    got = ask(number, target, context, items)
    while True:
        for place, (index, ended, values) in enumerate(got.results):
            drawn[index].extend(values)
            if (fault := (got.errors or {}).get(place)) is not None:
                drawn[index].append(to_error(_beams(fault, index)))
            if ended:
                left.discard(index)
        if not left:
            return drawn
        try:
            got = ask(next(_numbers), ["more", str(number)], context, [None])
        except SlitherError as error:
            # All that had not ended have failed.
            return [[*drawn[at], error] if at in left else drawn[at] for at in range(len(drawn))]


def _beams(fault: dict[str, Payload], item: int | None = None) -> dict[str, Payload]:
    kind = _REASONS.get(fault["kind"], fault["kind"])
    return {**fault, "kind": kind, **({} if item is None else {"item": item})}
