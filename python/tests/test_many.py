"""A worker's calls whose items have many values, as the protocol has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from peer import Worker

from slither._types import Payload
from slither._wire import frames
from slither._wire.checks import is_context

Entries = list[list[Payload]]


def each(name: str) -> list[str]:
    return ["each", "many_handlers", name]


def function(name: str) -> list[str]:
    return ["function", "many_handlers", name]


def after_parts(worker: Worker, kind: type[frames.Frame]) -> Any:
    """The next frame that is no part: one goes early where a value takes its time."""
    while isinstance(got := worker.read(), frames.Part):
        pass
    assert isinstance(got, kind), got
    return got


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(preload=["many_handlers"]) as started:
        yield started.ready()


class Drawn:
    """Draws a call's values to their end, or so many chunks of them."""

    def __init__(self, worker: Worker, target: list[str], items: list[Payload]) -> None:
        self.worker = worker
        self.values: list[list[Payload]] = [[] for _ in items]
        self.errors: dict[int, dict[str, Payload]] = {}
        self.error: dict[str, Payload] = {}
        self.frames: list[Entries] = []
        self.ended: list[int] = []
        self.first = worker.call(target, items, many=True)
        self.take(self.first)

    def take(self, identity: int) -> None:
        parts = 0
        while True:
            got = self.worker.read()
            assert getattr(got, "id", identity) == identity
            if isinstance(got, frames.Session):
                continue
            if isinstance(got, frames.Error):
                self.error = got.error
                return
            assert isinstance(got, frames.Result | frames.Part), got
            assert got.results, "a frame without an entry"
            if isinstance(got, frames.Part):
                assert got.index == parts
                parts += len(got.results)
            self.frames.append(got.results)
            for place, (index, ended, values) in enumerate(got.results):
                assert index not in self.ended
                self.values[index] += values
                if got.errors and place in got.errors:
                    assert ended
                    self.errors[index] = got.errors[place]
                if ended:
                    self.ended.append(index)
            if isinstance(got, frames.Result):
                return

    @property
    def open(self) -> bool:
        return not self.error and len(self.ended) < len(self.values)

    def more(self) -> Drawn:
        self.take(self.worker.call(["more", str(self.first)], [None]))
        return self

    def all(self) -> Drawn:
        while self.open:
            self.more()
        return self


def told(worker: Worker) -> Any:
    return worker.results(["apply", "many_handlers", "told"], [[[], {}]])[0]


class TestValues:
    @pytest.mark.parametrize("name", ["count", "acount", "later", "marked"])
    def test_a_function_of_one_item_gives_values_for_each(
        self, worker: Worker, name: str
    ) -> None:
        drawn = Drawn(worker, each(name), [2, 0, 3]).all()
        assert drawn.values == [[0, 1], [], [0, 1, 2]]
        assert drawn.ended == [0, 1, 2]

    @pytest.mark.parametrize("name", ["lists", "batches", "abatches"])
    def test_a_function_of_a_list_gives_values_for_each(self, worker: Worker, name: str) -> None:
        assert Drawn(worker, function(name), [2, 0, 3]).all().values == [[0, 1], [], [0, 1, 2]]

    def test_arguments_are_those_of_one_call(self, worker: Worker) -> None:
        drawn = Drawn(worker, ["apply", "many_handlers", "plus"], [[[1], {"b": 2}]]).all()
        assert drawn.values == [[1, 3]]
        assert not drawn.open

    def test_many_values_come_in_chunks(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("count"), [2_500, 10]).all()
        assert drawn.values == [list(range(2_500)), list(range(10))]
        assert all(sum(len(e[2]) for e in entries) <= 1_000 for entries in drawn.frames)
        assert drawn.ended == [0, 1]

    def test_nothing_is_drawn_ahead(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("count"), [1_000_000])
        assert drawn.open
        assert len(told(worker)) == len(drawn.values[0]) <= 1_000

    def test_long_values_fill_a_chunk(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("long"), [3])
        assert [len(value) for value in drawn.values[0]] == [300_000]
        assert [value[0] for value in drawn.all().values[0]] == ["0", "1", "2"]

    def test_no_frame_is_beyond_the_limit(self) -> None:
        with Worker(max_frame=400_000) as worker:
            drawn = Drawn(worker.ready(), each("long"), [3, 1]).all()
            assert [len(values) for values in drawn.values] == [3, 1]
            assert not drawn.errors

    def test_a_value_beyond_the_limit_fails_its_item(self) -> None:
        with Worker(max_frame=200_000) as worker:
            drawn = Drawn(worker.ready(), each("long"), [2, 0]).all()
            assert (drawn.values, drawn.errors[0]["kind"]) == ([[], []], "too_large")
            assert drawn.ended == [0, 1]

    def test_other_calls_run_between_two_chunks(self, worker: Worker) -> None:
        one = Drawn(worker, each("count"), [3_000])
        two = Drawn(worker, each("acount"), [3_000])
        assert worker.results(["apply", "operator", "add"], [[[1, 2], {}]]) == [3]
        while one.open or two.open:
            for drawn in (one, two):
                if drawn.open:
                    drawn.more()
        assert one.values == two.values == [list(range(3_000))]

    def test_tasks_of_a_generator_live_on_between_calls(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("with_task"), [2_000])
        assert drawn.open
        other = Drawn(worker, each("acount"), [3])
        assert other.values == [[0, 1, 2]]
        assert drawn.all().values == [list(range(2_000))]

    def test_the_context_is_that_of_the_call_that_draws(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("where"), [1_001])
        identity = worker.call(["more", str(drawn.first)], [None], 5)
        drawn.take(identity)
        assert drawn.values[0][0] == ["r1", 0]
        assert drawn.values[0][-1] == ["r1", 5]


class TestSoon:
    def test_a_value_does_not_wait_for_the_next_one(self, worker: Worker) -> None:
        first = worker.call(each("waits"), [2], many=True)
        # As a part; or, where the handler had a slow start, as the answer.
        values, asked = self.read_both(worker, first)
        assert values == [[0, False, ["first"]]]
        worker.send(frames.VIEW_REPLY, asked.id, 0, "second")
        got = worker.read()
        while not isinstance(got, frames.Result):
            got = worker.read()
        assert got.results == [[0, False, ["second"]]]

    def read_both(self, worker: Worker, first: int) -> tuple[Payload, frames.ViewCall]:
        values: Payload = None
        asked: frames.ViewCall | None = None
        while values is None or asked is None:
            got = worker.read()
            if isinstance(got, frames.ViewCall):
                asked = got
            elif isinstance(got, frames.Result | frames.Part):
                values = got.results
                if isinstance(got, frames.Result):
                    worker.call(["more", str(first)], [None])
        return values, asked

    def test_values_that_take_long_go_one_by_one(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("slow"), [3]).all()
        assert [[entry[2] for entry in frame] for frame in drawn.frames][:3] == [
            [[0]],
            [[1]],
            [[2]],
        ]


class TestFailures:
    def test_values_before_an_exception_stand(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("raises_after"), [2, 0, 1]).all()
        assert drawn.values == [[0, 1], [], [0]]
        assert [drawn.errors[at]["message"] for at in range(3)] == [
            "after 2",
            "after 0",
            "after 1",
        ]
        assert "many_handlers.py" in drawn.errors[0]["traceback"]
        assert "_worker" not in drawn.errors[0]["traceback"]

    def test_an_exit_fails_its_item_alone(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("stops"), [1, 2]).all()
        assert drawn.values == [[1], [2]]
        assert [drawn.errors[at]["type"] for at in range(2)] == ["SystemExit"] * 2

    @pytest.mark.parametrize(
        ("item", "values"), [("tuple", [1, 2]), ("set", [3]), ("range", [0, 1, 2])]
    )
    def test_any_collection_will_do(
        self, worker: Worker, item: str, values: list[Payload]
    ) -> None:
        assert Drawn(worker, each("anything"), [item]).all().values == [values]

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            ("none", "is NoneType; [] stands for none"),
            ("text", "is str; for one value return a list of one"),
            ("dict", "is dict; for one value return a list of one"),
            ("number", "is int; for one value return a list of one"),
        ],
    )
    def test_other_results_fail_their_item(self, worker: Worker, item: str, message: str) -> None:
        drawn = Drawn(worker, each("anything"), [item, "tuple"]).all()
        assert (drawn.values, drawn.errors[0]["kind"]) == ([[], [1, 2]], "not_a_list")
        assert message in drawn.errors[0]["message"]

    @pytest.mark.parametrize(
        ("item", "values", "kind"),
        [
            ("failure", [], "failure"),
            ("late failure", [1], "failure"),
            ("unsendable", [1], "not_encodable"),
        ],
    )
    def test_a_value_that_is_none_fails_its_item(
        self, worker: Worker, item: str, values: list[Payload], kind: str
    ) -> None:
        drawn = Drawn(worker, each("anything"), [item, "tuple"]).all()
        assert (drawn.values, drawn.errors[0]["kind"]) == ([values, [1, 2]], kind)

    def test_an_item_that_fails_has_its_generator_closed(self, worker: Worker) -> None:
        with Worker(max_frame=200_000) as small:
            drawn = Drawn(small.ready(), each("count"), [0])
            assert told(small) == ["0: closed"]
            assert not drawn.open

    def test_a_handler_that_raises_fails_all_items(self, worker: Worker) -> None:
        assert Drawn(worker, function("fails"), [1, 2]).error["message"] == "all 2"

    def test_a_handler_that_raises_on_its_way_fails_those_that_are_left(
        self, worker: Worker
    ) -> None:
        drawn = Drawn(worker, function("breaks_at"), [5, 6, 7, 8]).all()
        assert drawn.values == [[5], [6], [], []]
        assert drawn.ended == [0, 1]
        assert drawn.error["message"] == "seven"

    def test_counts_must_be_right(self, worker: Worker) -> None:
        few = Drawn(worker, function("too_few"), [1, 2]).error
        assert (few["kind"], few["expected"], few["got"]) == ("wrong_length", 2, 1)
        more = Drawn(worker, function("one_more"), [1, 2])
        assert (more.values, more.ended) == ([[1], [2]], [0])
        assert (more.error["kind"], more.error["got"]) == ("wrong_length", 3)

    def test_what_can_not_be_found_is_told(self, worker: Worker) -> None:
        assert Drawn(worker, each("nothing"), [1]).error["kind"] == "import"

    def test_a_forked_child_ends_with_the_handler(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("forks"), [1]).all()
        assert drawn.values == [[worker.process.pid] * 2]


class TestEnds:
    def test_a_drop_closes_the_generator(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("count"), [2_000])
        told(worker)
        drop = ["drop", str(drawn.first)]
        assert worker.results(drop, [None]) == [True]
        assert told(worker) == ["2000: closed"]
        assert worker.results(drop, [None]) == [False]
        assert drawn.more().error["kind"] == "cancelled"

    def test_a_drop_of_a_run_closes_what_it_has_left_in_its_session(self, worker: Worker) -> None:
        for run, session in [("r", "s"), ("other", "s"), ("r", "t")]:
            worker.call(each("count"), [2_000], many=True, run=run, session=session)
            while not isinstance(worker.read(), frames.Result):
                pass
        told(worker)
        assert worker.results(["drop", "run"], [None], run="r", session="s") == [True]
        assert told(worker) == ["2000: closed"]
        assert worker.results(["drop", "run"], [None], run="r", session="s") == [False]

    def test_a_drop_closes_an_async_generator(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("acount"), [2_000])
        assert worker.results(["drop", str(drawn.first)], [None]) == [True]
        assert told(worker) == ["2000: closed"]

    def test_what_was_given_is_no_more(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("count"), [2]).all()
        assert drawn.more().error["kind"] == "cancelled"

    @pytest.mark.parametrize("owner", [{"run": "r1"}, {"run": None, "session": "s1"}])
    def test_the_end_of_a_run_or_a_session_closes_its_generators(
        self, worker: Worker, owner: dict[str, Payload]
    ) -> None:
        for name in ("count", "acount"):
            worker.call(each(name), [2_000], many=True, **owner)
            while not isinstance(worker.read(), frames.Result):
                pass
        told(worker)
        worker.results(["session", "end"], [None], **owner)
        assert told(worker) == ["2000: closed", "2000: closed"]

    def test_a_run_is_told_of_once(self, worker: Worker) -> None:
        for told in (1, 0):
            worker.call(each("remembers"), [2_000], many=True)
            got = worker.read()
            assert isinstance(got, frames.Session) is bool(told)
            while not isinstance(got, frames.Result):
                got = worker.read()
        worker.results(["session", "end"], [None])
        worker.call(each("count"), [2_000], many=True)
        after_parts(worker, frames.Session)

    def test_a_session_with_values_left_stays(self, worker: Worker) -> None:
        worker.call(each("count"), [2_000], many=True, run=None, session="s1")
        after_parts(worker, frames.Result)
        got = worker.run(["session", "dump"], [None], run=None, session="s1")
        assert got.error["kind"] == "not_movable"

    def test_a_cancel_closes_what_waits(self, worker: Worker) -> None:
        identity = worker.call(each("awaits"), [1], many=True)
        asked = worker.expect(frames.ViewCall)
        worker.send(frames.VIEW_REPLY, asked.id, 0, None)
        worker.send(frames.CANCEL, identity)
        assert worker.expect(frames.Error).error["kind"] == "cancelled"
        assert told(worker) == ["cancelled"]

    def test_a_worker_that_stops_closes_generators(self) -> None:
        with Worker(capture=True) as worker:
            worker.ready()
            drawn = Drawn(worker, each("breaks_as_it_closes"), [2_000])
            assert drawn.open
            worker.send(frames.SHUTDOWN, 1_000)
            said = worker.expect(frames.Log)
            assert "a generator raised as it was closed" in said.message
            assert worker.wait() == 0

    def test_a_generator_that_raises_as_it_closes_is_logged(self, worker: Worker) -> None:
        drawn = Drawn(worker, each("breaks_as_it_closes"), [2_000])
        drop = worker.call(["drop", str(drawn.first)], [None])
        assert "as it was closed" in worker.expect(frames.Log).message
        assert after_parts(worker, frames.Result)[:2] == (drop, [True])


def test_values_that_are_left_need_an_owner() -> None:
    assert is_context({"many": True, "run": "r"})
    assert is_context({"many": True, "session": "s"})
    assert not is_context({"many": True})
    assert not is_context({"many": 1, "run": "r"})
    assert is_context({"many": False})
