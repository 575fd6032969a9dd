from __future__ import annotations

from collections.abc import Iterator

import pytest
from peer import Worker

from slither import SlitherError, store
from slither._types import Payload
from slither._wire import frames


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as started:
        started.ready()
        yield started


def answer(worker: Worker, op: str, value: Payload, status: int = 0) -> Payload:
    asked = worker.expect(frames.TableCall)
    assert (asked.table, asked.op) == ("features", op)
    worker.send(frames.VIEW_REPLY, asked.id, status, value)
    return asked.arguments


def results(worker: Worker) -> Payload:
    return worker.expect(frames.Result).results


def test_a_read_is_one_round_trip_and_a_missing_key_a_key_error(worker: Worker) -> None:
    worker.call("table_get", ["a"])
    assert answer(worker, "get", [{"x": 1}]) == ["a"]
    assert results(worker) == [{"x": 1}]
    worker.call("table_get", ["b"])
    answer(worker, "get", [])
    error = worker.expect(frames.Error).error
    assert (error["type"], error["message"]) == ("KeyError", "'b'")


def test_a_walk_asks_for_parts_and_ends_what_it_leaves(worker: Worker) -> None:
    worker.call("table_items", [3])
    assert answer(worker, "scan", [7, [["a", 1], [["t", 2], 2]]]) == [None]
    assert answer(worker, "scan", [7, [["c", 3]]]) == [7]
    assert answer(worker, "scan_end", None) == [7]
    assert results(worker) == [[("a", 1), (("t", 2), 2), ("c", 3)]]


def test_values_come_by_parts(worker: Worker) -> None:
    worker.call("table_values", [None])
    answer(worker, "scan", [7, [["a", 1], ["b", 2]]])
    answer(worker, "scan", [None, [["c", 3]]])
    assert results(worker) == [[1, 2, 3]]


def test_setdefault_asks_again_where_the_key_went_in_between(worker: Worker) -> None:
    worker.call("table_setdefault", ["k"])
    answer(worker, "put_new", False)
    answer(worker, "get", [])
    answer(worker, "put_new", False)
    answer(worker, "get", ["theirs"])
    assert results(worker) == ["theirs"]


@pytest.mark.parametrize("name", [5, None, b"features", ["features"]])
def test_a_name_is_a_str(name: object) -> None:
    with pytest.raises(TypeError, match="a table's name is a str, not"):
        store.table(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("unknown_table", "UnknownTable"),
        ("table_refused", "TableRefused"),
        ("table_failed", "TableError"),
    ],
)
def test_a_refusal_names_the_table(worker: Worker, kind: str, name: str) -> None:
    worker.call("table_get", ["a"])
    answer(worker, "get", {"kind": kind, "message": "so it is"}, 1)
    error = worker.expect(frames.Error).error
    assert error["type"].endswith(name)
    assert error["message"] == "table 'features': so it is"


def test_a_key_that_cannot_be_sent_is_an_error_of_the_table(worker: Worker) -> None:
    worker.call("table_set_key", [1])
    error = worker.expect(frames.Error).error
    assert error["type"].endswith("TableError")
    assert "a range cannot be sent" in error["message"]


def test_a_table_is_of_no_use_outside_a_worker() -> None:
    with pytest.raises(SlitherError, match="outside a worker"):
        store.table("features").get("a")
