"""What a function takes, by its mark and its annotations, and how a worker gives it that."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import taking
from peer import Worker

import slither
from slither import Pipe, _takes
from slither._references import reference
from slither._types import Payload
from slither._wire import frames
from slither.testing import run_handler, run_pipe
from slither.worker import batch_handler

LISTS = (
    *("double", "by_alias", "sequence", "yielding", "generating", "later", "streaming"),
    *("coroutine", "norm", "anything", "checked_only", "marked_list", "wrapped"),
    *("wrapped_marked", "partial", "doubler", "nested_or_not", "norm_or_none", "unhashable"),
)
ITEMS = (
    *("plain", "unsaid", "one", "one_typed", "mean", "no_result", "pair", "at_most", "point"),
    *("spread", "checked_one", "marked_one", "Doubler", "named_only"),
)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(preload=["taking"]) as one:
        yield one.ready()


@pytest.mark.parametrize("name", LISTS)
def test_a_function_of_a_list(name: str) -> None:
    assert _takes.takes(getattr(taking, name)).what == "list"


@pytest.mark.parametrize("name", ITEMS)
def test_a_function_of_one_item(name: str) -> None:
    assert _takes.takes(getattr(taking, name)).what == "item"


@pytest.mark.parametrize("function", [len, str.upper, sorted, int, list.copy, lambda rows: rows])
def test_what_says_nothing_takes_one_item(function: Callable[..., object]) -> None:
    assert _takes.takes(function) == ("item", "nothing", 0)


def test_what_is_said_wins_over_annotations_and_not_over_marks() -> None:
    assert _takes.given(taking.double, True).what == "item"
    assert _takes.given(taking.one, False).what == "list"
    with pytest.raises(TypeError, match=r"marked with @slither.worker.batch_handler.*each=True"):
        _takes.given(taking.marked_list, True)
    with pytest.raises(TypeError, match=r"marked with @slither.worker.item_handler.*each=False"):
        _takes.given(taking.marked_one, False)


def test_what_has_no_place_for_a_mark_can_be_marked() -> None:
    class Model:
        def predict(self, rows):  # type: ignore[no-untyped-def]
            return rows

    model = Model()
    assert _takes.takes(model.predict).what == "item"
    batch_handler("taking.model")(model.predict)
    assert _takes.takes(model.predict).what == "list"
    assert _takes.takes(Model().predict).what == "item"


@pytest.mark.parametrize(
    ("target", "items", "results"),
    [
        (["item", "taking", "plain"], [1, 2], [[1, 1], [2, 2]]),
        (["item", "taking", "double"], [[1], [2, 3]], [[2], [4, 6]]),
        (["item", "taking", "marked_one"], [[1], [2, 3]], [[1], [2]]),
        (["item", "math", "sqrt"], [4, 9], [2.0, 3.0]),
        (["each", "taking", "plain"], [1, 2], [[1, 1], [2, 2]]),
        (["each", "taking", "one"], [{"n": 3}], [3]),
        (["each", "taking", "mean"], [[1, 3], [4, 6]], [2.0, 5.0]),
        (["each", "taking", "double"], [1, 2], [2, 4]),
        (["each", "taking", "doubler"], [1, 2], [2, 4]),
        (["each", "taking", "sequence"], [1, 2], [2, 4]),
        (["each", "taking", "later"], [1, 2], [1, 2]),
        (["each", "taking", "norm"], [[1, 2], []], [3, 0]),
        (["each", "taking", "norm_or_none"], [[1, 2], None], [3, 0]),
        (["each", "taking", "unhashable"], [1], [1]),
        (["each", "taking", "marked_list"], [[1], [2]], [[1], [2]]),
        (["each", "taking", "marked_one"], [[1], [2]], [[1], [1]]),
        (["function", "taking", "double"], [1, 2], [2, 4]),
        (["function", "taking", "marked_one"], [[1], [2, 3]], [[1], [2]]),
    ],
)
def test_a_target_says_what_the_function_gets(
    worker: Worker, target: list[str], items: list[Payload], results: list[Payload]
) -> None:
    assert worker.results(target, items) == results


@pytest.mark.parametrize("name", ["yielding", "generating", "streaming"])
def test_a_function_of_a_list_may_yield(worker: Worker, name: str) -> None:
    worker.call(["each", "taking", name], [1, 2])
    got = worker.read()
    values: list[Payload] = []
    while isinstance(got, frames.Part):
        values += got.results
        got = worker.read()
    assert isinstance(got, frames.Result), got
    assert values + got.results == [1, 2]


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("nested_or_not", [[1]]),
        ("double", [1, [2]]),
        ("anything", [[]]),
        ("norm", [[[1.0]]]),
        ("checked_only", [[{}]]),
    ],
)
def test_an_item_that_is_a_list_leaves_a_doubt(
    worker: Worker, name: str, items: list[Payload]
) -> None:
    error = worker.error(["each", "taking", name], items)
    assert (error["kind"], error["type"]) == ("exception", "TypeError")
    assert "say each=True" in error["message"]
    assert "each=False" in error["message"]


def test_a_marked_function_of_a_list_gets_no_single_item(worker: Worker) -> None:
    error = worker.error(["item", "taking", "marked_list"], [1])
    assert (error["kind"], error["type"]) == ("exception", "TypeError")
    assert "batch_handler" in error["message"]
    assert "each=" not in error["message"]  # BEAM and the driver say it, each in its words.
    assert error["gave"] == "item"


class TestWhatAnErrorTells:
    @pytest.mark.parametrize("name", ["sqrt", "len"])
    def test_a_list_given_to_a_function_of_one_item(self, worker: Worker, name: str) -> None:
        module = "math" if name == "sqrt" else "builtins"
        error = worker.error(["function", module, name], [4, 9])
        assert error["gave"] == "list"

    def test_one_item_given_to_a_function_of_a_list(self, worker: Worker) -> None:
        for target in ("item", "each"):
            worker.call([target, "taking", "unsaid"], [{"n": 1}, 5])
            errors = worker.expect(frames.Result).errors
            assert [error["gave"] for error in errors.values()] == ["item", "item"]

    def test_nothing_of_it_where_the_function_is_marked(self, worker: Worker) -> None:
        worker.call(["each", "taking", "marked_one"], [5])
        assert "gave" not in worker.expect(frames.Result).errors[0]


AGREED: list[tuple[Callable[..., Payload], bool | None, list[Payload], list[Payload]]] = [
    (taking.plain, None, [1, 2], [[1, 1], [2, 2]]),
    (taking.one, None, [{"n": 3}, {"n": 4}], [3, 4]),
    (taking.mean, None, [[1, 3], [4, 6]], [2.0, 5.0]),
    (taking.double, None, [1, 2], [2, 4]),
    (taking.double, True, [[1], [2, 3]], [[2], [4, 6]]),
    (taking.unsaid, False, [{"n": 3}, {"n": 4}], [3, 4]),
    (taking.yielding, None, [1, 2], [1, 2]),
    (taking.later, None, [1, 2], [1, 2]),
    (taking.norm, None, [[1, 2], [3]], [3, 3]),
    (taking.marked_one, None, [[1], [2, 3]], [[1], [2]]),
    (taking.marked_list, None, [[1], [2, 3]], [[1], [2, 3]]),
    (str.upper, None, ["a", "b"], ["A", "B"]),
    (list.copy, False, [1, 2], [1, 2]),
]


@pytest.mark.parametrize(("function", "each", "items", "results"), AGREED)
def test_maps_pipes_and_tests_agree(
    beam: slither.Beam,
    function: Callable[..., Payload],
    each: bool | None,
    items: list[Payload],
    results: list[Payload],
) -> None:
    pipe = Pipe("agree").python("s", function, each=each)  # type: ignore[arg-type]
    named = Pipe("named").python("s", ":".join(reference(function)), each=each)  # type: ignore[arg-type]
    mapped = beam.map(function, items, each=each)  # type: ignore[arg-type]
    assert list(mapped) == results
    assert beam.run(pipe, items)["default"] == results
    assert beam.run(named, items)["default"] == results
    assert run_pipe(pipe, items)["default"] == results
    assert run_pipe(named, items)["default"] == results
    assert run_handler(function, items, each=each) == results


class TestAList:
    """An item that is a list, where annotations alone say that a function takes one."""

    ITEMS: tuple[Payload, ...] = ([1], (2, 3))

    @pytest.mark.parametrize("items", ITEMS)
    @pytest.mark.parametrize("on_error", ["halt", "skip", "return"])
    def test_a_map_refuses_it_under_each_policy(
        self, beam: slither.Beam, items: Payload, on_error: Payload
    ) -> None:
        results: Iterator[Payload] = beam.map(
            taking.double, [1, 2, items], on_error=on_error, batch_size=2
        )
        assert [next(results), next(results)] == [2, 4]
        with pytest.raises(TypeError, match="say each=True"):
            next(results)

    @pytest.mark.parametrize("items", ITEMS)
    def test_a_pipe_refuses_it(self, beam: slither.Beam, items: Payload) -> None:
        for run in (beam.run, run_pipe):
            pipe = Pipe("p").python("s", taking.double)
            with pytest.raises(slither.RunError, match="say each=True") as caught:
                run(pipe, [items])
            assert isinstance(caught.value.__cause__, TypeError)

    def test_a_gather_refuses_it_only_where_nobody_said_what_it_is(
        self, beam: slither.Beam
    ) -> None:
        double: Payload = taking.double
        with pytest.raises(TypeError, match="say each=True"):
            beam.gather(double)([1])
        assert beam.gather(double, each=False)([1]) == [1, 1]
        assert beam.gather(double, each=True)([1]) == [2]


def test_a_map_refuses_what_goes_against_a_mark_at_once(beam: slither.Beam) -> None:
    with pytest.raises(TypeError, match=r"marked with @slither\.worker\.batch_handler"):
        beam.map(taking.marked_list, [], each=True)
    with pytest.raises(TypeError, match=r"marked with @slither\.worker\.item_handler"):
        beam.map(taking.marked_one, [], each=False)
    with pytest.raises(ValueError, match="each is True or False, or None"):
        beam.map(taking.plain, [], each="yes")  # type: ignore[call-overload]


def test_an_error_says_what_the_function_was_given(beam: slither.Beam) -> None:
    with pytest.raises(TypeError) as caught:
        list(beam.map(taking.unsaid, [{"n": 1}]))
    assert "the function was given one item" in str(caught.value.__cause__)
    assert "each=False" in str(caught.value.__cause__)
    with pytest.raises(TypeError) as caught:
        list(beam.map(taking.one, [{"n": 1}], each=False))  # type: ignore[call-overload]
    assert "the function was given the list" in str(caught.value.__cause__)
    with pytest.raises(slither.CallError, match=r"not a list; .*given with each=True"):
        list(beam.map(len, [{"n": 1}], each=False))  # type: ignore[call-overload]


def test_a_stand_in_takes_what_the_stage_does() -> None:
    def run(function: Callable[..., Payload] | str, stand_in: Callable[..., Payload]) -> Payload:
        pipe = Pipe("p").python("s", function)
        return run_pipe(pipe, [1, 2], handlers={"s": stand_in})["default"]

    assert run(taking.double, lambda rows: rows[::-1]) == [2, 1]
    assert run("taking:double", lambda rows: rows[::-1]) == [2, 1]
    assert run(taking.plain, lambda row: -row) == [-1, -2]
    assert run("taking:plain", lambda row: -row) == [-1, -2]
    assert run("not_installed:f", lambda row: -row) == [-1, -2]
    assert run(taking.plain, taking.marked_list) == [1, 2]


def test_many_results_of_an_item_are_a_list_or_an_iterator() -> None:
    def parts(text: str) -> Iterator[str]:
        yield text

    assert _takes.contradiction(parts, "item") is not None
    assert _takes.contradiction(parts, "item", many=True) is None
    assert _takes.contradiction(taking.mean, "each", many=True) is not None
    assert _takes.contradiction(taking.point, "each", many=True) is None
    assert _takes.contradiction(taking.plain, "each", many=True) is None
