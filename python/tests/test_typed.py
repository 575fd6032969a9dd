"""Handlers get what their annotations say, and an item that is something else fails alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fitting
import pytest
from fitting import Colour, Out, Pair, Point

import slither
from slither import PayloadError, Pipe, item
from slither._types import Payload
from slither.testing import run_handler, run_pipe

GOOD: dict[str, Payload] = {"x": 1, "colour": "blue"}
BAD: dict[str, Payload] = {"x": "far"}
WRONG = 'payload.x: float expected, not the str "far"'

OF_ONE = (fitting.one, fitting.later, fitting.marked)
OF_SOME = (
    *(fitting.some, fitting.yielding, fitting.some_later, fitting.streaming),
    fitting.marked_some,
)


def told(results: list[Any]) -> list[Any]:
    """Return results with the words of exceptions in their places."""
    return [str(one) if isinstance(one, Exception) else one for one in results]


class TestAHandler:
    @pytest.mark.parametrize("handler", OF_ONE)
    def test_of_one_item_gets_its_type(self, handler: Callable[..., Any]) -> None:
        assert run_handler(handler, [GOOD, {"x": 2.5}]) == [Out("Point", 1), Out("Point", 2.5)]

    @pytest.mark.parametrize("handler", OF_SOME)
    def test_of_a_list_gets_a_list_of_its_type(self, handler: Callable[..., Any]) -> None:
        results: list[Any] = run_handler(handler, [GOOD, {"x": 2.5}])
        assert [(type(one), one.x) for one in results] == [(Out, 1), (Out, 2.5)]

    @pytest.mark.parametrize("handler", OF_ONE)
    def test_of_one_item_is_not_called_for_what_is_not_its_type(
        self, handler: Callable[..., Any]
    ) -> None:
        results = run_handler(handler, [GOOD, BAD, GOOD])
        assert told(results) == [Out("Point", 1), WRONG, Out("Point", 1)]
        assert isinstance(results[1], PayloadError)
        assert (results[1].path, isinstance(results[1], TypeError)) == ("payload.x", True)
        assert results[1].__context__ is None

    @pytest.mark.parametrize("handler", OF_SOME)
    @pytest.mark.parametrize(
        "items", [[BAD, GOOD, BAD, GOOD, BAD], [GOOD, BAD], [BAD], [BAD, BAD]]
    )
    def test_of_a_list_gets_those_that_fit(
        self, handler: Callable[..., Any], items: list[Payload]
    ) -> None:
        results: list[Any] = told(run_handler(handler, items))
        fitting = [one.x if isinstance(one, Out) else one for one in results]
        assert fitting == [1 if one is GOOD else WRONG for one in items]

    def test_of_a_list_is_given_those_that_fit_together(self) -> None:
        results: list[Any] = run_handler(fitting.some, [GOOD, BAD, GOOD])
        assert [results[0].kind, results[2].kind] == ["2 of Point"] * 2

    def test_that_gives_too_few_results_is_told_of_those_it_got(self) -> None:
        with pytest.raises(slither.CallError, match="returned 1 results for 2 items"):
            run_handler(fitting.too_few, [GOOD, BAD, GOOD])
        with pytest.raises(slither.CallError, match="yielded 2 results for 3 items"):
            run_handler(fitting.yields_too_few, [GOOD, BAD, GOOD])
        with pytest.raises(slither.CallError, match="yielded more than 2 results for 2 items"):
            run_handler(fitting.yields_too_many, [GOOD, BAD])
        with pytest.raises(slither.CallError, match="returned dict, not a list"):
            run_handler(fitting.no_list, [GOOD, BAD], each=False)

    def test_says_where_in_the_value_it_is_wrong(self) -> None:
        shape = {"name": "a", "points": [GOOD, GOOD, {"x": 1, "colour": "grey"}]}
        results = run_handler(fitting.split, [shape, {"points": []}], many=True)
        assert [told(values) for values in results] == [
            [
                'payload.points[2].colour: a Colour expected, not the str "grey"; there are '
                '"red", "blue"'
            ],
            ["payload.name: it is missing, and Shape needs it"],
        ]

    def test_without_a_type_to_restore_gets_the_data(self) -> None:
        assert run_handler(fitting.unsaid, [GOOD]) == ["dict"]
        assert run_handler(fitting.plain, [GOOD, [1]]) == ["dict", "list"]

    def test_says_so_where_it_wants_the_data(self) -> None:
        assert run_handler(fitting.raw_one, [GOOD, BAD]) == [GOOD, BAD]
        assert run_handler(fitting.raw_some, [GOOD, BAD]) == ["dict", "dict"]

    def test_with_a_name_that_only_type_checkers_know_gets_that_as_it_is(self) -> None:
        assert run_handler(fitting.hidden, [GOOD]) == ["dict NoneType"]

    def test_of_typed_dicts_and_named_tuples(self) -> None:
        assert run_handler(fitting.fields, [{"n": 1, "point": GOOD}]) == ["Point"]
        expected = Pair(1, Point(1, colour=Colour.BLUE))
        assert (
            run_handler(fitting.pair, [[1, GOOD], {"left": 1, "point": GOOD}]) == [expected] * 2
        )


class TestManyValues:
    @pytest.mark.parametrize("handler", [fitting.split, fitting.asplit, fitting.split_all])
    def test_are_of_the_type_that_the_handler_says(self, handler: Callable[..., Any]) -> None:
        shapes = [{"name": "a", "points": [GOOD, GOOD]}, {"name": 3}, {"name": "b"}]
        results = run_handler(handler, shapes, many=True)
        assert [told(values) for values in results] == [
            [Out("Point", 1), Out("Point", 1)],
            ["payload.name: str expected, not the int 3"],
            [],
        ]

    def test_of_no_item_that_fits(self) -> None:
        results = run_handler(fitting.split_all, [{}, 1], many=True)
        assert [told(values) for values in results] == [
            ["payload.name: it is missing, and Shape needs it"],
            ["payload: Shape expected, not the int 1"],
        ]


class TestAResult:
    @pytest.mark.parametrize("handler", [fitting.liar, fitting.lies])
    def test_that_is_not_what_the_handler_says_is_an_error(
        self, handler: Callable[..., Any]
    ) -> None:
        results = run_handler(handler, [1, 3])
        assert told(results) == [
            Out("a", 1),
            'result.x: float expected, not the str "far"',
        ]


class TestAPipe:
    def test_gives_stages_their_types_and_goes_on_with_data(self) -> None:
        pipe = (
            Pipe("typed")
            .python("one", fitting.one)
            .route("by_x", near=item["x"] < 2)
            .output("near", "wrong")
            .on_error("one", slither.pipe.route("wrong"))
        )
        outputs = run_pipe(pipe, [GOOD, BAD, {"x": 3}])
        assert outputs["near"] == [{"kind": "Point", "x": 1, "path": None}]
        assert outputs["default"] == [{"kind": "Point", "x": 3, "path": None}]
        assert outputs["wrong"] == [BAD]
        assert str(outputs.errors["wrong"][0]) == WRONG


def test_a_mark_of_what_is_no_truth_value() -> None:
    with pytest.raises(TypeError, match="typed is True or False, not 'no'"):
        slither.worker.item_handler("fitting.no", typed="no")(fitting.one)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="typed=False goes with a function of yours"):
        slither.worker.batch_handler("fitting.join", typed=False)("".join)
