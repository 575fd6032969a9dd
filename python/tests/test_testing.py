from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import driven
import pytest
from tagged import load, untag

import slither
from slither import Pipe, item, store, views, when, worker
from slither._testing.simulate import Simulation
from slither._types import Payload
from slither.pipe import error, retry, route, skip
from slither.testing import FakeBeam, run_handler, run_pipe
from slither.worker import item_handler


def test_a_handler_runs_as_in_a_worker() -> None:
    assert run_handler(driven.total, [1, 2]) == [3, 3]
    assert run_handler(driven.echoes, [(1, [2])], each=False) == [(1, [2])]
    assert run_handler(driven.echoes, [[1], [2]], each=True) == [[1], [2]]
    assert run_handler(driven.double, [1, 2]) == [2, 4]
    with pytest.raises(TypeError, match="say each=True"):
        run_handler(driven.echoes, [(1, [2])])
    with pytest.raises(TypeError, match=r"marked with @slither.worker.batch_handler"):
        run_handler(driven.total, [1], each=True)
    assert run_handler(driven.one_no_fives, [1, 2]) == [1, 2]


def test_what_fails_an_item_is_in_its_place_and_what_fails_a_batch_is_raised() -> None:
    got = run_handler(driven.one_no_fives, [1, 5])
    assert got[0] == 1
    assert isinstance(got[1], ValueError)
    with pytest.raises(ValueError, match="a six") as caught:
        run_handler(driven.no_sixes, [6])
    assert "in no_sixes" in str(caught.value.__cause__)
    with pytest.raises(slither.CallError, match="2 results for 3 items"):
        run_handler(driven.short, [1, 2, 3])
    with pytest.raises(slither.EncodeError):
        run_handler(driven.echoes, [range(1)])


def test_handlers_that_yield_or_await_run_too() -> None:
    def yields(items: list[int]) -> Iterator[int]:
        for one in items:
            yield views.call("double", one)

    async def waits(items: list[int]) -> list[int]:
        return [await asyncio.to_thread(views.call, "double", one) for one in items]

    async def yields_later(items: list[int]) -> AsyncIterator[int]:
        for one in items:
            yield await asyncio.sleep(0, one)

    def fails(items: list[int]) -> Iterator[int]:
        yield items[0]
        raise ValueError("midway")

    with FakeBeam(views={"double": lambda n: 2 * n}):
        assert run_handler(yields, [1, 2]) == [2, 4]
        assert run_handler(waits, [1, 2]) == [2, 4]
        assert run_handler(yields_later, [1, 2]) == [1, 2]
        with pytest.raises(ValueError, match="midway"):
            run_handler(fails, [1, 2])


def test_a_handler_sees_the_context_it_is_given() -> None:
    def look(items: list[Payload]) -> list[Payload]:
        here = worker.context()
        state = worker.session()
        state["calls"] = state.get("calls", 0) + 1
        return [[here.pipe, here.stage, here.batch, here.attempt, here.trace, state["calls"]]]

    facts: Payload = {"pipe": "p", "stage": "s", "session": "of the test", "trace": "t"}
    assert run_handler(look, [0], batch=3, attempt=2, **facts) == [["p", "s", 3, 2, "t", 1]]
    assert run_handler(look, [0], **facts)[0][-1] == 2
    with pytest.raises(slither.SlitherError, match="outside a call"):
        worker.context()


def test_views_answer_what_the_test_says() -> None:
    def ask(keys: list[str]) -> list[Payload]:
        return [views.lookup(key=key) for key in keys] + views.map("pair", keys)

    def lookup(params: Payload) -> Payload:
        return {"found": params["key"], "as": ("tuple",)}

    with FakeBeam(views={"lookup": lookup, "pair": lambda key: [key, key]}) as beam:
        assert ask(["a"]) == [{"found": "a", "as": ("tuple",)}, ["a", "a"]]
        assert beam.asked == [("lookup", {"key": "a"}), ("pair", "a")]
        with pytest.raises(slither.UnknownView, match="Known views: lookup, pair"):
            views.call("other")
        with pytest.raises(slither.ViewFailed, match="KeyError"):
            views.call("lookup", {})
        with pytest.raises(slither.InvalidParams, match="a range cannot be sent"):
            views.call("lookup", range(1))
    with pytest.raises(slither.SlitherError, match="outside a worker"):
        views.call("lookup")


def test_a_fake_table_is_the_mapping_that_a_real_one_is(beam: slither.Beam) -> None:
    def use(table: store.Table[Payload, Payload]) -> list[Payload]:
        table[("a", 1)] = (1, 2)
        table.put_many({"b": 2, "c": None})
        return [
            table[("a", 1)],
            table.get_many(["b", "c", "d"]),
            table.put_new("b", 3),
            table.pop("b"),
            table.setdefault("e", 5),
            table.update_counter("n", 2, 10),
            len(table),
            sorted(map(str, table)),
            "c" in table,
            sorted(table.values(), key=str),
        ]

    with FakeBeam(tables={"t": {}}):
        fake = use(store.table("t"))
        with pytest.raises(slither.UnknownTable, match="Declared: t"):
            len(store.table("u"))
        with pytest.raises(slither.TableError, match="no counter"):
            store.table("t").put_new("s", "x") and store.table("t").update_counter("s")
    assert fake == use(beam.store("beside_a_fake"))


def test_the_state_of_a_run_is_there_beside_a_fake() -> None:
    def count(items: list[Payload]) -> list[Payload]:
        state = worker.session()
        state["calls"] = state.get("calls", 0) + 1
        return [state["calls"]]

    with FakeBeam() as beam:
        assert [run_handler(count, [0], run="a fake's") for _ in range(2)] == [[1], [2]]
        assert beam.held == ["a fake's"]


FUNCTIONS: dict[str, Callable[[Payload], Payload]] = {"shout": str.upper, "parts": list}


@pytest.mark.parametrize("row", load("pipes"), ids=lambda row: row["name"])
def test_a_pipe_gives_what_it_gives_on_beam(row: Payload) -> None:
    simulation = Simulation(row["document"], run_handler, FUNCTIONS, {})
    stopped: Payload = None
    try:
        outputs: dict[str, list[Payload]] = simulation.run(untag(row["items"]))
    except slither.RunError as error:
        outputs, cause = error.partial, error.__cause__
        assert cause is not None
        stopped = {**why(cause), "at": str(error).split(": ")[0]}
    assert outputs == {name: untag(values) for name, values in row["outputs"].items()}
    errors = getattr(outputs, "errors", {})
    told = {name: {str(n): why(e) for n, e in found.items()} for name, found in errors.items()}
    assert told == row.get("errors", {})
    assert stopped == row.get("error")


def why(error: BaseException) -> dict[str, str]:
    if isinstance(error, slither.EncodeError):
        return {"kind": "not_encodable"}
    if isinstance(error, slither.CallError) and not isinstance(error, slither.HandlerError):
        return {"kind": error.kind}
    return {"kind": "python_exception", "type": type(error).__name__}


def test_what_only_beam_does_is_refused() -> None:
    pipe = Pipe("p").beam("all", "shout", batch=True, cardinality="many")
    with pytest.raises(slither.SlitherError, match="'all': run_pipe runs no function"):
        run_pipe(pipe, ["a"], functions=FUNCTIONS)
    with pytest.raises(slither.RunError, match="give one in its place"):
        run_pipe(pipe, ["a"])


def test_progress_and_cancels_are_the_tests() -> None:
    with FakeBeam() as beam:
        assert run_handler(item_handler(driven.running), ["a"]) == ["a"]
        assert beam.reported == [(1, None)]
        assert not worker.cancelled()
        beam.cancelled = True
        assert worker.cancelled()


score = (
    Pipe("score")
    .beam("prepare", {"n": item, "text": "number"})
    .python("predict", driven.predict, batch_size=8)
    .route("route", accept=item["score"] >= 0.8, review=item["score"] >= 0.4)
    .output("accept", "review")
)
fives = Pipe("fives").python("no_fives", driven.one_no_fives, batch_size=4).output("bad")
PIPES = {
    "routes": (score, 30),
    "skip": (fives.on_error("no_fives", "skip"), 30),
    "route": (fives.on_error("*", route("bad")), 30),
    "chosen route": (
        fives.on_error("*", route(when(error["type"] == "ValueError").then("bad").otherwise(""))),
        30,
    ),
    "halt": (fives, 30),
    "retry": (fives.on_error("*", retry(max_attempts=2, base=0.001, then="skip")), 30),
    "many": (Pipe("many").beam("pairs", [item, -item], cardinality="many"), 5),
    "skipped": (Pipe("s").beam("odd", {"n": item % 2}).beam("no", skip("why")), 3),
    "batches": (Pipe("b").batch("three", size=3), 8),
    "inner": (Pipe("outer").pipe("inner", score, {"accept": "yes"}).output("yes", "review"), 30),
    "later": (
        Pipe("later").route("r", last=item > 2).beam("first", item + 100).beam("last", item * 2),
        6,
    ),
    "fails": (Pipe("f").beam("part", item["missing"]), 3),
}


Ran = tuple[dict[str, list[Payload]], str, dict[str, dict[int, str]]]


def outcome(run: Callable[[], Payload]) -> Ran:
    """What a run gave: outputs, the error where it stopped, and the errors of what was routed."""
    stopped = ""
    try:
        outputs = run()
    except slither.RunError as error:
        outputs, cause = error.partial, error.__cause__
        stopped = f"{str(error).split(':')[0]}: {type(cause).__name__}"
    errors = getattr(outputs, "errors", {})
    shown = {name: {n: repr(e) for n, e in found.items()} for name, found in errors.items()}
    return dict(outputs), stopped, shown


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_runs_as_on_beam(beam: slither.Beam, name: str) -> None:
    pipe, count = PIPES[name]
    expected = outcome(lambda: beam.run(pipe, range(count)))
    assert outcome(lambda: run_pipe(pipe, range(count))) == expected


def test_functions_and_handlers_stand_in_for_what_is_elsewhere() -> None:
    pipe = (
        Pipe("p").beam("norm", "normalize").python("model", "no_such_module:predict", each=False)
    )
    outputs = run_pipe(
        pipe,
        [" A "],
        functions={"normalize": str.strip},
        handlers={"model": lambda rows: [{"text": row} for row in rows]},
    )
    assert outputs == {"default": [{"text": "A"}]}
    with pytest.raises(slither.RunError, match="give one in its place"):
        run_pipe(pipe, ["a"])
    with pytest.raises(slither.RunError, match="stage 'model', item 0: no module is named"):
        run_pipe(pipe, ["a"], functions={"normalize": str.strip})


def test_pytest_finds_the_fixture(escript: Path, slither_beam: slither.Beam) -> None:
    assert list(slither_beam.map(driven.double, [1, 2])) == [2, 4]
