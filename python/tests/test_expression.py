from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from tagged import load, show, untag

from slither import ExpressionError, SlitherError, item, when
from slither._pipe.expression import Expression, data
from slither._pipe.operand import MAX_DEPTH, MAX_SIZE, expression_of
from slither._pipe.render import render
from slither._testing.evaluate import EvaluationError, SkipItem, evaluate
from slither._types import Payload
from slither.pipe import error, fail, skip

ROWS = load("expressions")


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_a_vector(row: dict[str, Payload]) -> None:
    assert render(row["expression"]) == row["text"]
    if "value" in row:
        got = evaluate(row["expression"], untag(row["item"]))
        assert show(got) == show(untag(row["value"]))
        return
    with pytest.raises(EvaluationError) as raised:
        evaluate(row["expression"], untag(row["item"]))
    assert [raised.value.kind, raised.value.at] == row["error"]


def test_vectors_have_names_of_their_own() -> None:
    assert len({row["name"] for row in ROWS}) == len(ROWS)


BUILT: list[tuple[Expression, Payload]] = [
    (item["a"], ["get", ["item"], "a"]),
    (item.get("a"), ["get", ["item"], "a", None]),
    (item.get("a", 0), ["get", ["item"], "a", 0]),
    (item["a"][item["b"]], ["get", ["get", ["item"], "a"], ["get", ["item"], "b"]]),
    (item == 1, ["==", ["item"], 1]),
    (2.5 >= item, ["<=", ["item"], 2.5]),  # noqa: SIM300
    (item != None, ["!=", ["item"], None]),  # noqa: E711 - an expression has no identity
    (1 + item, ["+", 1, ["item"]]),
    (2 - item, ["-", 2, ["item"]]),
    (2 * item, ["*", 2, ["item"]]),
    (2 / item, ["/", 2, ["item"]]),
    (7 // item, ["//", 7, ["item"]]),
    (7 % item, ["%", 7, ["item"]]),
    (-item, ["neg", ["item"]]),
    (["x"] + item, ["+", ["list", ["x"]], ["item"]]),  # noqa: RUF005
    (item & True & item, ["and", ["item"], True, ["item"]]),
    (item & (item & True), ["and", ["item"], ["item"], True]),
    (False | item, ["or", False, ["item"]]),
    (item & (item | True), ["and", ["item"], ["or", ["item"], True]]),
    (~item, ["not", ["item"]]),
    (item.is_in(["a", 1]), ["in", ["item"], ["list", ["a", 1]]]),
    (item.contains("a"), ["in", "a", ["item"]]),
    (item.is_none(), ["is_none", ["item"]]),
    (item.len(), ["len", ["item"]]),
    (item.strip().lower(), ["lower", ["strip", ["item"]]]),
    (item.upper(), ["upper", ["item"]]),
    (item.split(), ["split", ["item"]]),
    (item.split(","), ["split", ["item"], ","]),
    (item.startswith("a"), ["startswith", ["item"], "a"]),
    (item.endswith("a"), ["endswith", ["item"], "a"]),
    (when(item).then(1).otherwise(2), ["when", [[["item"], 1]], 2]),
    (
        when(item).then(1).when(~item).then([item]).otherwise({"a": item}),
        [
            "when",
            [[["item"], 1], [["not", ["item"]], ["list", [["item"]]]]],
            ["dict", [["a", ["item"]]]],
        ],
    ),
    (skip("why"), ["skip", "why"]),
    (fail(item["why"]), ["fail", ["get", ["item"], "why"]]),
    (error["reason"], ["get", ["error"], "reason"]),
]  # fmt: skip


@pytest.mark.parametrize(("built", "expected"), BUILT, ids=[repr(pair[0]) for pair in BUILT])
def test_operators_make_data(built: Expression, expected: Payload) -> None:
    assert data(built) == expected


def test_constants_dicts_and_lists_make_data() -> None:
    assert expression_of(None) is None
    assert expression_of({"a": (1, [item]), 2: {}}) == [
        "dict",
        [["a", ["list", [1, ["list", [["item"]]]]]], [2, ["dict", []]]],
    ]


MISUSED: list[tuple[str, Callable[[], object]]] = [
    ("neither true nor false", lambda: bool(item)),
    ("neither true nor false", lambda: item["a"] and item["b"]),
    ("neither true nor false", lambda: not item["a"]),
    ("neither true nor false", lambda: 0 < item["a"] < 2),
    ("neither true nor false", lambda: 1 if item["a"] == 2 else 3),
    ("x.len()", lambda: len(item)),
    ("can't be walked over", lambda: list(item)),
    (".contains(x)", lambda: "a" in item),
    ("f-string", lambda: f"{item} and more"),
    ("has no value here", lambda: int(item)),
    ("has no value here", lambda: float(item)),
    ("can't be called", item["a"]),  # type: ignore[list-item]
    ("no slices", lambda: item[1:2]),  # type: ignore[index]
    ("a set can't stand", lambda: item == {1}),
    ("bytes can't stand", lambda: item == b"a"),
    ("give it to .python", lambda: item == len),
    ("64 bits", lambda: item + 2**63),
    ("no finite number", lambda: item + float("nan")),
    ("no valid Unicode", lambda: item == "\ud800"),
    ("a key of a dict", lambda: expression_of({1.5: item})),
    ("a key of a dict", lambda: expression_of({True: item})),
    ("needs its .otherwise", lambda: bool(when(item).then(1))),
    ("not finished", lambda: expression_of(when(item).then(1))),
    ("can't be changed", lambda: setattr(item, "a", 1)),
]


@pytest.mark.parametrize(("message", "misuse"), MISUSED)
def test_taking_an_expression_for_a_value_is_a_type_error(
    message: str, misuse: Callable[[], object]
) -> None:
    with pytest.raises(TypeError) as raised:
        misuse()
    assert isinstance(raised.value, ExpressionError)
    assert isinstance(raised.value, SlitherError)
    assert message in str(raised.value)


def test_the_error_is_raised_in_the_callers_line() -> None:
    with pytest.raises(ExpressionError) as raised:
        bool(item["a"])
    assert str(raised.traceback[0].path) == __file__
    assert str(raised.traceback[0].statement).strip() == 'bool(item["a"])'


def test_an_attribute_is_no_part() -> None:
    with pytest.raises(AttributeError, match=r'no method .score.; a part .* is item\["score"\]'):
        _ = item.score  # type: ignore[attr-defined]


def test_expressions_are_copied_as_they_are() -> None:
    assert data(copy.deepcopy(item["a"] > 1)) == data(item["a"] > 1)


def test_an_expression_is_as_deep_as_it_may_be_and_no_deeper() -> None:
    deep = item
    for _ in range(MAX_DEPTH - 1):
        deep = deep.lower()
    with pytest.raises(ExpressionError, match="deeper than 64"):
        deep.lower()
    with pytest.raises(ExpressionError, match="deeper than 64"):
        expression_of([deep])


def test_an_expression_that_grows_by_sharing_is_stopped() -> None:
    shared = item
    for _ in range(12):
        shared = shared + shared
    with pytest.raises(ExpressionError, match="more than 10,000 parts"):
        shared + shared


def test_an_expression_has_as_many_parts_as_it_may() -> None:
    assert expression_of([1] * (MAX_SIZE - 1))
    with pytest.raises(ExpressionError, match="more than 10,000 parts"):
        expression_of([1] * MAX_SIZE)


def test_a_chain_of_conditions_is_not_deep() -> None:
    chain = item == 0
    for number in range(500):
        chain = chain | (item == number)
    assert evaluate(data(chain), 499) is True


def test_skip_gives_its_reason() -> None:
    with pytest.raises(SkipItem) as raised:
        evaluate(data(skip(item)), "why")
    assert raised.value.value == "why"


def test_numpy_scalars_are_numbers_and_arrays_are_not() -> None:
    numpy = pytest.importorskip("numpy")
    assert evaluate(data(item + 1), numpy.int32(2)) == 3
    assert evaluate(data(item == 2), numpy.array(2)) is False
    assert evaluate(data(item[0] == item[1]), [numpy.arange(3), numpy.arange(3)]) is True
