"""Typed handlers on a live Beam: by every way in which a program calls a function."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import fitting as typed
import pytest
from fitting import Colour, Out, Pair, Point

import slither
from slither import PayloadError, Pipe
from slither._types import Payload
from slither.testing import run_handler

# They are called with data, which type checkers would not allow.
fitting: Any = typed
GOOD: dict[str, Payload] = {"x": 1, "colour": "blue"}
BAD: dict[str, Payload] = {"x": "far"}
WRONG = 'payload.x: float expected, not the str "far"'

one_or_some = pytest.mark.parametrize(
    "function",
    [
        *(fitting.one, fitting.later, fitting.some, fitting.yielding, fitting.some_later),
        *(fitting.streaming, fitting.marked, fitting.marked_some),
    ],
)


def facts(results: Any) -> list[Any]:
    """Return what does not depend on how items came together."""
    return [one.x if isinstance(one, Out) else str(one) for one in results]


EVERYTHING = typed.Everything(
    price=Decimal("1.50"),
    id=UUID(int=7),
    day=date(2024, 1, 2),
    at=datetime(2024, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
    took=timedelta(seconds=1.5),
    path=Path("a/b"),
    colour=Colour.BLUE,
    pair=Pair(1, Point(1)),
    stock=typed.Stock(1, frozenset({"a"})),
    order=typed.Order(orderId=3, lines=[Point(2)], due=date(2024, 1, 2)),
    event=typed.Event(1, Point(3), datetime(2024, 1, 2), {"b"}),
    points=(Point(1), Point(2)),
    by_key={UUID(int=1): [Point(1), None]},
    some={1, 2},
    data=b"\xff",
    z=1j,
    shape=typed.Shape("a", [Point(1)], Path("home")),
    row={"n": 1, "point": Point(4)},
)


class TestObjects:
    @pytest.mark.parametrize(
        ("function", "value"),
        [
            (typed.everything, EVERYTHING),
            (typed.each_of_them, EVERYTHING),
            (typed.stock, EVERYTHING.stock),
            (typed.order, EVERYTHING.order),
            (typed.event, EVERYTHING.event),
            (typed.pair, EVERYTHING.pair),
            (typed.colour, Colour.RED),
        ],
    )
    def test_there_and_back_are_the_same(
        self, beam: slither.Beam, function: Callable[..., Any], value: Any
    ) -> None:
        for found in (
            next(beam.map(function, [value])),
            run_handler(function, [value])[0],
            beam.gather(function)(value),
        ):
            assert found == value
            assert type(found) is type(value)
        if function is not typed.each_of_them:
            assert beam.submit(function, value).result() == value


class TestMap:
    @one_or_some
    def test_gives_and_returns_what_the_function_says(
        self, beam: slither.Beam, function: Callable[..., Any]
    ) -> None:
        results = beam.map(function, [{"x": n} for n in range(20)], batch_size=5)
        assert facts(results) == list(range(20))

    @one_or_some
    @pytest.mark.parametrize("timeout", [None, 30.0])
    def test_fails_what_does_not_fit_alone(
        self, beam: slither.Beam, function: Callable[..., Any], timeout: float | None
    ) -> None:
        rows = [BAD if n % 3 == 0 else {"x": n} for n in range(10)]
        results = list(
            beam.map(function, rows, batch_size=4, on_error="return", item_timeout=timeout)
        )
        assert facts(results) == [WRONG if n % 3 == 0 else n for n in range(10)]
        assert type(results[0]) is PayloadError
        assert results[0].path == "payload.x"

    def test_halts_or_leaves_out_what_does_not_fit(self, beam: slither.Beam) -> None:
        with pytest.raises(PayloadError, match=r"payload\.x: float expected"):
            list(beam.map(fitting.one, [GOOD, BAD]))
        results = beam.map(fitting.some, [GOOD, BAD, GOOD], batch_size=3, on_error="skip")
        assert facts(results) == [1, 1]
        assert results.summary.errors == {"PayloadError": 1}

    def test_of_several_arguments(self, beam: slither.Beam) -> None:
        results = beam.map(fitting.counted, [GOOD, BAD], [2, 3], [GOOD, GOOD], on_error="return")
        assert [str(one) for one in results] == [
            str(Out("Point Colour 1", 4)),
            'args[0].x: float expected, not the str "far"',
        ]

    @pytest.mark.parametrize("timeout", [None, 30.0])
    def test_of_several_arguments_of_a_coroutine(
        self, beam: slither.Beam, timeout: float | None
    ) -> None:
        rows = [BAD, GOOD, BAD, GOOD]
        results = beam.map(
            fitting.both_later, rows, range(4), on_error="return", item_timeout=timeout
        )
        wrong = WRONG.replace("payload", "args[0]")
        assert facts(results) == [wrong, 1, wrong, 3]

    def test_of_an_asynchronous_loop(self, beam: slither.Beam) -> None:
        async def read(**options: Any) -> list[Any]:
            return [one async for one in beam.amap(fitting.liar, range(1, 5), **options)]

        found = asyncio.run(read(on_error="return"))
        assert facts(found) == [1, 2, 'result.x: float expected, not the str "far"', 4]
        with pytest.raises(PayloadError, match=r"result\.x"):
            asyncio.run(read())


class TestAResultThatIsNotWhatTheFunctionSays:
    @pytest.mark.parametrize("function", [fitting.liar, fitting.lies])
    def test_fails_its_item(self, beam: slither.Beam, function: Callable[..., Any]) -> None:
        results = beam.map(function, range(1, 8), on_error="return", batch_size=2)
        wrong = 'result.x: float expected, not the str "far"'
        assert facts(results) == [1, 2, wrong, 4, 5, wrong, 7]
        results = beam.map(function, range(1, 8), on_error="skip", batch_size=2)
        assert facts(results) == [1, 2, 4, 5, 7]
        assert results.summary.errors == {"PayloadError": 2}
        assert results.summary.outputs == {"results": 5}

    def test_halts_after_those_before_it(self, beam: slither.Beam) -> None:
        results = beam.map(fitting.liar, range(1, 1_000_000), batch_size=2)
        assert [next(results).x, next(results).x] == [1, 2]
        with pytest.raises(PayloadError, match=r"result\.x"):
            next(results)
        with pytest.raises(StopIteration):
            next(results)

    def test_fails_its_call(self, beam: slither.Beam) -> None:
        future = beam.submit(fitting.liar, 3)
        with pytest.raises(PayloadError, match=r"result\.x"):
            future.result()
        assert isinstance(future.exception(), PayloadError)


class TestACall:
    def test_gives_and_returns_what_the_function_says(self, beam: slither.Beam) -> None:
        assert beam.submit(fitting.one, GOOD).result() == Out("Point", 1)
        assert beam.submit(fitting.later, GOOD).result() == Out("Point", 1)
        future = beam.submit(fitting.counted, GOOD, 2, GOOD, GOOD, to="blue")
        assert future.result() == Out("Point Colour 2", 6)
        assert beam.submit(fitting.counted, point=GOOD).result() == Out("Point Colour 0", 1)

    @pytest.mark.parametrize("session", [None, "typed"])
    def test_says_which_argument_does_not_fit(
        self, beam: slither.Beam, session: str | None
    ) -> None:
        def error(*args: Any, **kwargs: Any) -> str:
            future = beam.submit_with(fitting.counted, args, kwargs, session=session)
            return str(future.exception())

        assert error(BAD) == 'args[0].x: float expected, not the str "far"'
        assert error(GOOD, 1, GOOD, {}) == "args[3].x: it is missing, and Point needs it"
        assert error(GOOD, to=3) == (
            'kwargs["to"]: a Colour expected, not the int 3; there are "red", "blue"'
        )

    def test_of_a_session_gets_its_types(self, beam: slither.Beam) -> None:
        future = beam.submit_with(fitting.one, [GOOD], session="typed")
        assert future.result() == Out("Point", 1)

    def test_of_asyncio(self, beam: slither.Beam) -> None:
        async def call() -> Out:
            return await asyncio.wrap_future(beam.submit(fitting.one, GOOD))

        assert asyncio.run(call()) == Out("Point", 1)

    def test_of_an_executor(self, beam: slither.Beam) -> None:
        with slither.Executor(beam=beam) as executor:
            assert executor.submit(fitting.one, GOOD).result() == Out("Point", 1)
            found = executor.map(fitting.one, [{"x": n} for n in range(7)], chunksize=3)
            assert facts(found) == list(range(7))
            results = executor.map(fitting.liar, [1, 3], chunksize=2)
            assert next(results) == Out("a", 1)
            with pytest.raises(PayloadError, match=r"result\.x"):
                next(results)
            done = concurrent.futures.wait([executor.submit(fitting.one, BAD)]).done
            assert str(done.pop().exception()) == WRONG.replace("payload", "args[0]")

    def test_that_wants_the_data_gets_and_returns_it(self, beam: slither.Beam) -> None:
        assert list(beam.map(fitting.raw_one, [BAD])) == [BAD]
        assert list(beam.map(fitting.raw_some, [BAD])) == ["dict"]


class TestValuesOneByOne:
    @pytest.mark.parametrize("function", [fitting.split, fitting.asplit])
    def test_are_what_the_function_says(
        self, beam: slither.Beam, function: Callable[..., Any]
    ) -> None:
        shape = {"name": "a", "points": [{"x": n} for n in range(5)]}
        assert facts(beam.stream_call(function, shape)) == list(range(5))

        async def read() -> list[Any]:
            return [one async for one in beam.astream_call(function, shape)]

        assert facts(asyncio.run(read())) == list(range(5))

    def test_end_at_the_first_that_is_something_else(self, beam: slither.Beam) -> None:
        values = beam.stream_call(fitting.lies, [1, 2, 3, 4])
        assert [next(values).x, next(values).x] == [1, 2]
        with pytest.raises(PayloadError, match=r"result\.x"):
            next(values)

    def test_of_an_argument_that_does_not_fit(self, beam: slither.Beam) -> None:
        with pytest.raises(PayloadError, match=r"args\[0\]\.name: it is missing"):
            list(beam.stream_call(fitting.split, {"points": []}))


class TestGather:
    @pytest.mark.parametrize("function", [fitting.one, fitting.some])
    def test_gives_and_returns_what_the_function_says(
        self, beam: slither.Beam, function: Callable[..., Any]
    ) -> None:
        gather: Any = beam.gather(function)
        futures = [gather.submit(row) for row in [GOOD, BAD, GOOD]]
        done = [future.exception() or future.result() for future in futures]
        assert facts(done) == [1, WRONG, 1]
        assert gather({"x": 5}).x == 5

    def test_fails_the_caller_whose_result_is_something_else(self, beam: slither.Beam) -> None:
        gather = beam.gather(fitting.liar)
        assert gather(1) == Out("a", 1)
        with pytest.raises(PayloadError, match=r"result\.x"):
            gather(3)


class TestAPipe:
    @one_or_some
    def test_gives_stages_their_types(
        self, beam: slither.Beam, function: Callable[..., Any]
    ) -> None:
        pipe = (
            Pipe("typed")
            .python("typed", function, batch_size=4)
            .output("wrong")
            .on_error("typed", slither.pipe.route("wrong"))
        )
        outputs = beam.run(pipe, [BAD if n % 3 == 0 else {"x": n} for n in range(10)])
        assert [row["x"] for row in outputs["default"]] == [1, 2, 4, 5, 7, 8]
        assert outputs["wrong"] == [BAD] * 4
        assert {str(error) for error in outputs.errors["wrong"].values()} == {WRONG}

    @pytest.mark.parametrize("function", [fitting.split, fitting.split_all, fitting.asplit])
    def test_of_many_values(self, beam: slither.Beam, function: Callable[..., Any]) -> None:
        pipe = Pipe("many").python("split", function, cardinality="many").on_error("*", "skip")
        rows = [{"name": "a", "points": [GOOD, GOOD]}, {"name": 3}, {"name": "b"}]
        outputs = beam.run(pipe, rows)
        assert [row["kind"] for row in outputs["default"]] == ["Point", "Point"]
        assert outputs.summary is not None
        assert outputs.summary.errors == {"PayloadError": 1}


@pytest.fixture(scope="module")
def by_value(escript: Path) -> Iterator[slither.Beam]:
    with slither.Beam(workers=1, by_value=True) as started:
        yield started


class TestByValue:
    def test_a_function_of_its_own_gets_and_gives_its_types(self, by_value: slither.Beam) -> None:
        @dataclass
        class Local:
            x: float
            points: list[Point]

        def moved(local: Local) -> Local:
            assert type(local) is Local, local
            return Local(local.x + 1, local.points)

        data: Any = {"x": 1, "points": [{"x": 2}]}
        expected = Local(2, [Point(2)])
        assert by_value.submit(moved, data).result() == expected
        assert list(by_value.map(moved, [data, Local(1, [Point(2)])])) == [expected] * 2
        data["points"][0]["x"] = "far"
        [error] = by_value.map(moved, [data], on_error="return")
        assert str(error) == 'payload.points[0].x: float expected, not the str "far"'

    def test_an_object_that_only_looks_alike_is_taken(self, by_value: slither.Beam) -> None:
        class Duck:
            x = 5.0

        duck: Any = Duck()
        assert by_value.submit(typed.one, duck).result() == Out("Duck", 5.0)
        with slither.Executor(beam=by_value) as executor:
            assert executor.submit(typed.one, duck).result() == Out("Duck", 5.0)
            assert list(executor.map(typed.one, [duck])) == [Out("Duck", 5.0)]
