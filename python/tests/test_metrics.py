"""What handlers count of their own: in a worker, in a test's fake, and in a program."""

from __future__ import annotations

import math
import os
import pickle
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from decimal import Decimal

import metered
import pytest
from peer import Worker

import slither
from slither import ProtocolError, metrics
from slither._io.port import Port
from slither._types import Payload
from slither._wire import frames
from slither._worker import counting, current
from slither._worker.connection import Link
from slither.testing import FakeBeam, run_handler

Rows = dict[str, Payload]


@pytest.fixture(autouse=True)
def own_book(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "book", counting.Book())


@pytest.fixture
def defined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_metrics", {})


def function(name: str) -> list[str]:
    return ["function", "metered", name]


def told(got: frames.Frame) -> Rows:
    """What a frame tells, by names and values of labels."""
    assert isinstance(got, frames.Metrics), got
    return {
        "/".join([name, *values]): value
        for _kind, name, _help, _labels, _bounds, series in got.rows
        for values, value in series
    }


class TestWorker:
    """A worker, to whom the test is BEAM."""

    def test_tells_what_has_changed_before_the_answer(self) -> None:
        with Worker(preload=["metered"]) as worker:
            worker.start()
            # Counters without labels are there from the start.
            assert told(worker.read()) == {"metered_rows_total": 0}
            worker.expect(frames.Ready)
            first = worker.call(function("count"), [1, 2, 4])
            got = worker.expect(frames.Metrics)
            assert got.call == first
            assert told(got) == {
                "metered_rows_total": 3,
                "metered_kinds_total/even": 6,
                "metered_kinds_total/odd": 1,
                "metered_level": 4.0,
                "metered_sizes_bytes/any": [[1, 2, 0], 7],
            }
            assert got.rows[0] == ["counter", *got.rows[0][1:]]
            assert worker.expect(frames.Result).id == first
            worker.call(function("count"), [11])
            assert told(worker.read()) == {
                "metered_rows_total": 1,
                "metered_kinds_total/odd": 11,
                "metered_level": 11.0,
                "metered_sizes_bytes/any": [[0, 0, 1], 11],
            }
            worker.expect(frames.Result)
            # Where nothing has changed, nothing is told.
            assert worker.results(function("nothing"), [1]) == [1]

    def test_says_what_a_metric_is(self) -> None:
        with Worker(preload=["metered"]) as worker:
            worker.start()
            worker.expect(frames.Metrics)
            worker.expect(frames.Ready)
            worker.call(function("count"), [1])
            rows = {row[1]: row[:5] for row in worker.expect(frames.Metrics).rows}
            assert rows["metered_sizes_bytes"] == [
                "histogram",
                "metered_sizes_bytes",
                "Sizes.",
                ["kind"],
                [1, 10],
            ]
            assert rows["metered_level"] == ["gauge", "metered_level", "The last row.", [], []]
            worker.expect(frames.Result)

    @pytest.mark.parametrize(
        ("handler", "items", "counted", "answer"),
        [
            ("fails", [1, 2], 2, frames.Error),
            ("too_long", [1, 2], 2, frames.Result),
            ("threads", [1, 2, 3], 3_000, frames.Result),
            ("in_a_child", [1], None, frames.Result),
        ],
    )
    def test_counts_whatever_comes_of_the_call(
        self, handler: str, items: list[int], counted: int | None, answer: type[frames.Frame]
    ) -> None:
        with Worker(preload=["metered"], max_frame=8_192) as worker:
            worker.start()
            worker.expect(frames.Metrics)
            worker.expect(frames.Ready)
            worker.call(function(handler), items)
            if counted is not None:
                assert told(worker.read()) == {"metered_rows_total": counted}
            worker.expect(answer)

    def test_tells_before_each_part_what_was_counted_until_then(self) -> None:
        with Worker(preload=["metered"], ahead=1) as worker:
            worker.start()
            worker.expect(frames.Metrics)
            worker.expect(frames.Ready)
            call = worker.call(function("yields"), [1, 2, 3])
            counted = answered = 0
            while answered < 3:
                got = worker.read()
                if isinstance(got, frames.Metrics):
                    counted += told(got)["metered_rows_total"]
                    continue
                assert isinstance(got, frames.Part | frames.Result)
                answered += len(got.results)
                assert counted >= answered
                if isinstance(got, frames.Part):
                    worker.send(frames.CREDIT, call, 1)
            assert counted == 3

    def test_tells_in_a_long_call_what_was_counted_with_its_progress_now_and_then(self) -> None:
        with Worker(preload=["metered"], credits=100) as worker:
            worker.start()
            worker.expect(frames.Metrics)
            worker.expect(frames.Ready)
            worker.call(function("reports"), list(range(50)))
            assert told(worker.read()) == {"metered_rows_total": 1}
            assert worker.expect(frames.Progress).done == 0
            got = [worker.read()]
            while not isinstance(got[-1], frames.Result):
                got.append(worker.read())
            counts = [
                told(one)["metered_rows_total"] for one in got if isinstance(one, frames.Metrics)
            ]
            assert sum(counts) == 49
            # One was before the answer; others came a second after one another, if at all.
            assert len(counts) < 49

    def test_tells_at_its_end_what_no_answer_has_told(self) -> None:
        with Worker(preload=["metered"]) as worker:
            worker.start()
            worker.expect(frames.Metrics)
            worker.expect(frames.Ready)
            worker.send(frames.SHUTDOWN, 1_000)
            assert told(worker.read()) == {"metered_kinds_total/stopped": 1}
            assert worker.wait() == 0

    def test_refuses_more_series_than_there_may_be_and_tells_how_many(self) -> None:
        with Worker(preload=["metered"]) as worker:
            worker.start()
            worker.expect(frames.Metrics)
            worker.expect(frames.Ready)
            worker.call(function("many"), list(range(counting.MOST + 10)))
            got = worker.expect(frames.Metrics)
            assert len(told(got)) == counting.MOST
            assert got.rows[-1] == ["refused", "", "", [], [], [[[], 11]]]
            worker.expect(frames.Result)

    def test_that_counts_nothing_imports_none_of_this(self) -> None:
        code = "import slither._worker.main, sys; print([m for m in sys.modules if 'count' in m])"
        command = [sys.executable, "-c", code]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert out.strip() == "[]"

    def test_tells_though_the_answer_is_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read, write = os.pipe()
        port, link = Port(descriptors=(read, write)), Link(Port(descriptors=(read, write)))
        link._port.max_frame = 1_000
        monkeypatch.setattr(current, "link", link)
        metered.rows.inc()
        with pytest.raises(ProtocolError):
            link.send((b"x" * 2_000,), 7)
        metered.rows.inc(2)
        link.send((b"short", b" one"), 8)
        link.send((b"another",), 9)
        counted = [frames.parse(port.read()) for _ in range(2)]
        assert list(map(told, counted)) == [{"metered_rows_total": 1}, {"metered_rows_total": 2}]
        assert [got.call for got in counted if isinstance(got, frames.Metrics)] == [7, 8]
        assert [port.read(), port.read()] == [b"short one", b"another"]
        port.close()


def shown(beam: slither.Beam) -> dict[str, float]:
    """What Prometheus would read of handlers' own metrics, without the label of the pool."""
    with urllib.request.urlopen(f"{beam.dashboard}metrics") as answer:
        lines = answer.read().decode().splitlines()
    rows = (line.rsplit(" ", 1) for line in lines if not line.startswith(("#", "slither_")))
    return {re.sub(r'pool="[^"]*",?', "", name): float(value) for name, value in rows}


@pytest.mark.usefixtures("escript")
class TestBeam:
    """A program with workers of its own."""

    def test_finds_the_counts_of_its_workers_with_the_answers(self) -> None:
        with slither.Beam(2, dashboard=0) as beam:
            assert list(beam.map(metered.count, range(1, 101), batch_size=7, each=False))
            found = shown(beam)
        assert found["metered_rows_total{}"] == 100
        assert found['metered_kinds_total{kind="odd"}'] == 2_500
        assert found['metered_sizes_bytes_bucket{kind="any",le="10"}'] == 10
        assert found['metered_sizes_bytes_count{kind="any"}'] == 100
        assert metrics.read() == {}

    def test_counts_in_functions_that_go_by_value(self) -> None:
        seen = metrics.counter("by_value_seen_total", "Seen.", labels=("kind",))
        bound = seen.labels(kind="bound")

        def see(number: int) -> int:
            seen.inc(kind="plain")
            bound.inc(number)
            return number

        with slither.Beam(1, by_value=True, dashboard=0) as beam:
            assert sum(beam.map(see, range(5))) == 10
            found = shown(beam)
        assert found['by_value_seen_total{kind="plain"}'] == 5
        assert found['by_value_seen_total{kind="bound"}'] == 10


class TestProgram:
    """A program that no BEAM has started."""

    def test_counts_for_itself(self) -> None:
        metered.count([1, 2])
        assert metrics.read() == {
            "metered_rows_total": 2,
            'metered_kinds_total{kind="odd"}': 1,
            'metered_kinds_total{kind="even"}': 2,
            "metered_level": 2.0,
            'metered_sizes_bytes_count{kind="any"}': 2,
            'metered_sizes_bytes_sum{kind="any"}': 3,
        }

    def test_takes_any_number_as_one_that_beam_adds(self) -> None:
        metered.rows.inc(Decimal("0.5"))  # type: ignore[arg-type]
        metered.rows.inc(True)
        assert metrics.read() == {"metered_rows_total": 1.5}
        assert type(metrics.read()["metered_rows_total"]) is float

    def test_gauges_rise_and_fall(self) -> None:
        metered.level.set(5)
        metered.level.inc()
        metered.level.dec(2.5)
        assert metrics.read() == {"metered_level": 3.5}

    def test_a_time_is_taken_of_what_raises_too(self) -> None:
        with pytest.raises(KeyError), metered.sizes.time(kind="slow"):
            raise KeyError
        assert metrics.read()['metered_sizes_bytes_count{kind="slow"}'] == 1

    def test_values_of_labels_are_cut_and_quoted(self) -> None:
        metered.kinds.inc(kind='a"\\\n' + "x" * 1_000)
        (name,) = metrics.read()
        assert name.startswith('metered_kinds_total{kind="a\\"\\\\\\n')
        assert len(name) < 200

    def test_a_metric_goes_where_a_function_goes_by_value(self) -> None:
        bound = pickle.loads(pickle.dumps(metered.kinds.labels(kind="b")))
        bound.inc()
        pickle.loads(pickle.dumps(metered.rows)).inc()
        assert metrics.read() == {'metered_kinds_total{kind="b"}': 1, "metered_rows_total": 1}


class TestFake:
    """Handlers of a test, to whom a fake is BEAM."""

    def test_shows_what_was_counted_in_its_block(self) -> None:
        metered.rows.inc(100)
        with FakeBeam() as beam:
            assert beam.metrics == {}
            assert run_handler(metered.nothing, [1], each=False) == [1]
            run_handler(metered.yields, [1, 2], each=False)
            assert beam.metrics == {"metered_rows_total": 2}
        assert beam.metrics == {"metered_rows_total": 2}
        assert metrics.read() == {"metered_rows_total": 100}


Make = Callable[[], object]
WRONG: list[tuple[Make, str]] = [
    (lambda: metrics.counter("hits", "h"), "a counter ends in _total: 'hits_total'"),
    (lambda: metrics.counter("a-b_total", "h"), "letters, digits and _, and no digit first"),
    (lambda: metrics.counter("slither_hits_total", "h"), "names with slither_ are its own"),
    (lambda: metrics.gauge("hits_total", "h"), "a gauge ends in none of _total, _bucket"),
    (lambda: metrics.histogram("sizes_sum", "h"), "a histogram ends in none of"),
    (lambda: metrics.gauge("level", " "), "help says in a sentence what level is"),
    (
        lambda: metrics.gauge("level", "h", labels=("pool",)),
        "not 'pool'; BEAM's own are le, pool",
    ),
    (lambda: metrics.gauge("level", "h", labels=("a", "a")), "at most 10 labels, each once"),
    (lambda: metrics.gauge("level", "h", labels=("__a",)), "a label of level is letters"),
    (
        lambda: metrics.histogram("s", "h", buckets=(2, 1)),
        "the buckets of s are numbers that rise",
    ),
    (lambda: metrics.histogram("s", "h", buckets=(1, math.inf)), "the buckets of s are numbers"),
]


@pytest.mark.usefixtures("defined")
class TestDefinitions:
    """What a metric may be."""

    @pytest.mark.parametrize(("make", "words"), WRONG)
    def test_a_wrong_one_is_refused_where_it_is_made(self, make: Make, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            make()
        assert metrics.read() == {}

    def test_labels_are_no_text(self) -> None:
        with pytest.raises(TypeError, match="labels are a tuple of names, not 'kind'"):
            metrics.gauge("level", "h", labels="kind")

    def test_one_that_is_made_twice_is_one(self) -> None:
        metrics.counter("hits_total", "One.").inc()
        metrics.counter("hits_total", "In other words.").inc()
        assert metrics.read() == {"hits_total": 2}

    def test_another_of_the_same_name_is_refused(self) -> None:
        metrics.histogram("sizes", "h", labels=("kind",), buckets=(1, 2))
        with pytest.raises(ValueError, match="'sizes' is there already: a histogram with the"):
            metrics.gauge("sizes", "h", labels=("kind",))
        with pytest.raises(ValueError, match="the buckets 1, 2, not a histogram with the labels"):
            metrics.histogram("sizes", "h", labels=("kind",), buckets=(1, 3))

    def test_labels_are_given_each_and_once(self) -> None:
        hits = metrics.counter("hits_total", "h", labels=("kind", "place"))
        for labels in ({}, {"kind": 1}, {"kind": 1, "plaice": 2}):
            with pytest.raises(ValueError, match="each of its labels: kind, place; got"):
                hits.inc(**labels)
        bound = hits.labels(kind=1, place=None)
        with pytest.raises(ValueError, match="none, as it has its values; got kind"):
            bound.inc(kind=2)
        bound.inc()
        assert metrics.read() == {'hits_total{kind="1",place="None"}': 1}

    @pytest.mark.parametrize("count", [-1, math.nan, math.inf, 1 << 63])
    def test_a_counter_only_rises(self, count: float) -> None:
        hits = metrics.counter("hits_total", "h")
        with pytest.raises(ValueError, match="hits_total is a counter, which rises by 0 or more"):
            hits.inc(count)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_histogram_takes_numbers(self, value: float) -> None:
        with pytest.raises(ValueError, match="sizes takes no"):
            metrics.histogram("sizes", "h").observe(value)

    def test_to_define_one_is_what_has_a_worker_tell(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(current, "counted", None)
        metrics.gauge("level", "h")
        assert current.counted is counting.take
        assert counting.take(1) is None

    @pytest.mark.parametrize("value", ["1", b"1", None, [1]])
    def test_what_is_no_number_is_refused_by_name(self, value: object) -> None:
        hits, level = metrics.counter("hits_total", "h"), metrics.gauge("level", "l")
        sizes = metrics.histogram("sizes", "s", buckets=(1, 2))
        for take in (hits.inc, level.set, level.inc, level.dec, sizes.observe):
            with pytest.raises(TypeError, match=r"(hits_total|level|sizes) takes a number, not"):
                take(value)  # type: ignore[arg-type]

    def test_a_name_is_a_text(self) -> None:
        with pytest.raises(TypeError, match="a metric's name is a str, not 3"):
            metrics.counter(3, "h")  # type: ignore[arg-type]
