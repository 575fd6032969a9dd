"""Handlers that take their batch as a frame: in tests without BEAM, in maps and in pipes."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import framing
import numpy as np
import pytest

import slither
from slither import Pipe, item
from slither._cli.check import check
from slither._takes import KINDS, FrameKind
from slither.testing import run_handler, run_pipe
from slither.worker import batch_handler

ROWS = [{"done": 1, "all": 4}, {"done": 3, "all": 4}, {"done": 2, "all": 8}]
RATED = [{**row, "rate": row["done"] / row["all"]} for row in ROWS]


each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_a_batch_is_one_frame_and_each_row_a_result(kind: FrameKind) -> None:
    assert run_handler(framing.RATES[kind], ROWS, as_=kind) == RATED
    package = {"arrow": "pyarrow"}.get(kind, kind)
    assert run_handler(framing.kind_and_rows, ROWS, as_=kind) == [[package, 3]] * 3


@each_kind
def test_an_item_that_is_no_row_fails_alone(kind: FrameKind) -> None:
    items = [ROWS[0], 7, ROWS[1], None, ROWS[2]]
    first, odd, second, none, third = run_handler(framing.RATES[kind], items, as_=kind)
    assert [first, second, third] == RATED
    assert "not a int" in str(odd)
    assert "not a NoneType" in str(none)


@pytest.mark.parametrize("kind", ["polars", "arrow"])
def test_an_item_of_another_type_than_the_others_fails_alone(kind: FrameKind) -> None:
    items = [{"n": 1}, {"n": "one"}, {"n": 2.5}, {"n": None}]
    whole, odd, part, none = run_handler(framing.same, items, as_=kind)
    assert [whole, part, none] == [{"n": 1}, {"n": 2.5}, {"n": None}]
    assert "column 'n' has a str here, and a number in most other items" in str(odd)


def test_an_item_that_arrow_has_no_type_for_fails_alone() -> None:
    good, odd = run_handler(framing.same, [{"n": 1}, {"n": 1 << 80}], as_="arrow")
    assert good == {"n": 1}
    assert "column 'n'" in str(odd)


@each_kind
def test_a_batch_without_any_row_gives_the_handler_nothing(kind: FrameKind) -> None:
    results = run_handler(framing.raising, [1, 2], as_=kind)
    assert [type(result) for result in results] == [TypeError] * 2


@pytest.mark.parametrize("handler", [framing.column, framing.array])
def test_a_column_and_an_array_have_a_result_for_each_row(handler: Callable[..., Any]) -> None:
    results = run_handler(handler, ROWS, as_="pandas")
    assert results == [2, 6, 4]
    assert {type(result) for result in results} == {int}


def test_rows_that_a_handler_has_sorted_are_the_results_of_their_items() -> None:
    assert run_handler(framing.by_size, ROWS, as_="pandas") == ROWS
    # With an index of its own nothing tells where they were.
    by_size = sorted(ROWS, key=lambda row: -row["done"])
    assert run_handler(framing.new_index, ROWS, as_="pandas") == by_size


def test_a_result_that_is_none_says_what_to_give() -> None:
    with pytest.raises(slither.CallError, match=r"2 results for a frame of 3 rows.*a route"):
        run_handler(framing.large, ROWS, as_="pandas")
    with pytest.raises(slither.CallError, match=r"it gave NoneType; is a return missing\?"):
        run_handler(framing.nothing, ROWS, as_="pandas")
    with pytest.raises(slither.CallError, match=r"two columns 'done'"):
        run_handler(framing.twice, ROWS, as_="pandas")


def test_single_rows_may_fail() -> None:
    one, three, two = run_handler(framing.failing, ROWS, as_="pandas")
    assert one == ROWS[0]
    assert [str(three), str(two)] == ["too many", "too many"]


@pytest.mark.parametrize("handler", [framing.one_by_one, framing.one_by_one_later])
def test_results_may_be_yielded(handler: Callable[..., Any]) -> None:
    assert run_handler(handler, ROWS, as_="pandas") == [1, 3, 2]
    mixed = run_handler(handler, ["no row", *ROWS, "no row"], as_="pandas")
    assert mixed[1:4] == [1, 3, 2]
    assert isinstance(mixed[0], TypeError)
    assert isinstance(mixed[4], TypeError)


def test_a_handler_may_be_a_coroutine() -> None:
    assert run_handler(framing.later, ROWS, as_="pandas") == RATED
    assert run_handler(framing.later, [*ROWS, 1], as_="pandas")[:3] == RATED


@each_kind
def test_what_is_missing_is_none(kind: FrameKind) -> None:
    when = datetime(2024, 1, 2, tzinfo=timezone.utc)
    items = [{"name": "a", "when": when, "more": True}, {"name": None, "when": None}]
    found = run_handler(framing.same, items, as_=kind)
    assert found == [items[0], {"name": None, "when": None, "more": None}]


def test_pandas_has_nan_among_floats() -> None:
    whole, none = run_handler(framing.same, [{"n": 1}, {"n": None}], as_="pandas")
    assert whole == {"n": 1.0}
    assert np.isnan(none["n"])


def test_a_mark_says_it_too() -> None:
    assert run_handler(framing.marked, ROWS) == RATED
    assert run_handler(framing.marked, ROWS, as_="pandas") == RATED


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(TypeError, match="marked as one of a frame of pandas"):
        run_handler(framing.marked, ROWS, as_="polars")
    with pytest.raises(TypeError, match=r"item_handler the function takes one item"):
        run_handler(framing.of_item, ROWS, as_="polars")
    with pytest.raises(TypeError, match="each=True the function takes one item"):
        run_handler(framing.same, ROWS, each=True, as_="polars")
    with pytest.raises(TypeError, match=r"one result for each row"):
        run_handler(framing.marked, ROWS, many=True)
    with pytest.raises(ValueError, match="as_ is one of 'pandas', 'polars', 'arrow'"):
        batch_handler(as_="numpy")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="a function of yours"):
        batch_handler(as_="pandas")(len)
    with pytest.raises(slither.PipeError, match="marked as one of a frame of pandas"):
        Pipe("p").python("rate", framing.marked, as_="arrow")
    with pytest.raises(slither.PipeError, match=r"option 'as_' takes 'pandas' or 'polars'"):
        Pipe("p").python("rate", framing.same, as_="numpy")  # type: ignore[call-overload]
    with pytest.raises(slither.PipeError, match=r"cardinality='many'"):
        Pipe("p").python("rate", framing.same, as_="pandas", cardinality="many")


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "polars":
            raise ModuleNotFoundError("No module named 'polars'", name="polars")
        return plain(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install polars"):
        run_handler(framing.same, ROWS, as_="polars")


def _pipe(kind: FrameKind) -> Pipe:
    return (
        Pipe("rates")
        .python("rate", framing.RATES[kind], as_=kind, batch_size=2)
        .route("by_rate", high=item["rate"] >= 0.5)
        .output("high", "broken")
        .on_error("rate", slither.pipe.route("broken"))
    )


@each_kind
def test_a_pipe_on_beam_does_what_it_does_in_tests(beam: slither.Beam, kind: FrameKind) -> None:
    items = [*ROWS, "no row"]
    found = beam.run(_pipe(kind), items)
    assert found == {"high": [RATED[1]], "default": [RATED[0], RATED[2]], "broken": ["no row"]}
    assert found == run_pipe(_pipe(kind), items)


@each_kind
def test_a_map_of_a_function_of_a_frame(beam: slither.Beam, kind: FrameKind) -> None:
    assert list(beam.map(framing.RATES[kind], ROWS * 50, as_=kind)) == RATED * 50
    items = [ROWS[0], 7, ROWS[1]]
    one, odd, two = beam.map(
        framing.RATES[kind], items, as_=kind, batch_size=3, on_error="return"
    )
    assert [one, two] == RATED[:2]
    assert isinstance(odd, Exception)
    assert "an item is a dict" in str(odd)


def test_a_mark_is_enough_on_beam(beam: slither.Beam) -> None:
    assert list(beam.map(framing.marked, ROWS)) == RATED
    pipe = Pipe("p").python("rate", framing.marked)
    assert beam.run(pipe, ROWS)["default"] == RATED
    command = Pipe("p").python("rate", command="marked rate")
    assert run_pipe(command, ROWS)["default"] == RATED
    assert beam.gather(framing.marked)(ROWS[0]) == RATED[0]


@each_kind
def test_a_gather_of_a_function_of_a_frame(beam: slither.Beam, kind: FrameKind) -> None:
    rate = beam.gather(framing.RATES[kind], as_=kind)
    futures = [rate.submit(row) for row in [*ROWS, "no row", *ROWS]]
    assert [future.result() for future in (*futures[:3], *futures[4:])] == RATED * 2
    with pytest.raises(TypeError, match="an item is a dict of columns"):
        futures[3].result()


def test_an_exception_of_the_handler_fails_its_batch(beam: slither.Beam) -> None:
    with pytest.raises(KeyError, match="no such column"):
        list(beam.map(framing.raising, ROWS, as_="pandas"))


def test_several_iterables_make_no_frame(beam: slither.Beam) -> None:
    with pytest.raises(TypeError, match="one iterable"):
        beam.map(framing.same, ROWS, ROWS, as_="pandas")  # type: ignore[call-overload]


def test_check_takes_a_frame_for_what_it_is(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rated.py"
    file.write_text(
        "import framing\nfrom slither import Pipe\n"
        "p = Pipe('p').python('rate', framing.rate_pandas, as_='pandas')\n"
        "q = Pipe('q').python('rate', framing.marked)\n"
    )
    assert check(str(file)) == 0, capsys.readouterr().err


@each_kind
def test_decimals_come_back(kind: FrameKind) -> None:
    items = [{"price": Decimal("1.50")}, {"price": Decimal("22.75")}]
    from slither._dataframes import framed, results_of

    made = framed(items, kind)
    assert results_of(made.frame, 2, made.frame) == items
