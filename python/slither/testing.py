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

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from slither import _takes
from slither._driver.errors_in import to_error
from slither._testing.fake import FakeBeam
from slither._types import Payload
from slither._version import MAX_FRAME
from slither._wire import frames
from slither._wire.build import frame
from slither._worker import current, execute

if TYPE_CHECKING:
    from slither._outputs import Outputs
    from slither.pipe import Pipe

__all__ = ["FakeBeam", "run_handler", "run_pipe"]

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
) -> list[Payload]:
    """Run a handler on one batch, as a worker does, and return its results.

    ``handler`` takes the list of items, or each one by itself, as :meth:`slither.Pipe.python`
    tells by ``each``, its mark and its annotations; the other arguments are its context. An item
    that failed has its exception in its place; what fails the batch is raised, as
    :meth:`slither.Beam.map` would raise it. A generator that fails midway fails the batch, too.
    State in :func:`slither.worker.session` stays from call to call of a session, or of a run.

    >>> from slither.worker import Failure
    >>> run_handler(lambda row: 2 * row, [1, 2])
    [2, 4]
    >>> run_handler(lambda rows: [Failure("no"), {1}], ["a", "b"], each=False)
    [CallError('no', ...), EncodeError('result', 'a set cannot be sent; make it a list')]
    """
    context = {"run": run, "pipe": pipe, "stage": stage, "session": session, "trace": trace}
    _takes.given(handler, each)
    target = [_KINDS[each], "test", getattr(handler, "__name__", "test")]
    body = frame(frames.CALL, 1, target, context, batch, attempt, list(items))
    call = frames.parse(body)
    assert isinstance(call, frames.Call)
    with current.entered(call):
        pieces = execute.answer(call, 0, MAX_FRAME, handler=handler)
    got = frames.parse(b"".join(pieces))
    if isinstance(got, frames.Error):
        raise to_error(_beams(got.error))
    assert isinstance(got, frames.Result)
    results = list(got.results)
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

    return Simulation(pipe.document(), run_handler, functions or {}, handlers or {}).run(items)


def _beams(fault: dict[str, Payload], item: int | None = None) -> dict[str, Payload]:
    kind = _REASONS.get(fault["kind"], fault["kind"])
    return {**fault, "kind": kind, **({} if item is None else {"item": item})}
