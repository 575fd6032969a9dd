"""Traces as a receiver of OpenTelemetry's own packages sees them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import broken_provider
import own_provider
import pytest
import traced
import without_opentelemetry
import work
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from receiver import CLIENT, CONSUMER, INTERNAL, SERVER, Receiver, Span

import slither
from slither import Pipe
from slither._worker import tracing

pytestmark = pytest.mark.usefixtures("escript")

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = PARENT[:-2] + "00"
TRACER = TracerProvider().get_tracer("program")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@contextmanager
def beam(receiver: Receiver, **options: Any) -> Iterator[slither.Beam]:
    """A Beam whose spans have come once the block is over."""
    with slither.Beam(options.pop("workers", 1), trace=receiver.url, **options) as started:
        yield started


@contextmanager
def outer() -> Iterator[str]:
    """A span of the program's, as it is below none; gives its id."""
    token = otel_context.attach(otel_context.Context())
    try:
        with TRACER.start_as_current_span("outer") as span:
            yield f"{span.get_span_context().span_id:016x}"
    finally:
        otel_context.detach(token)


def below(receiver: Receiver, parent: Span) -> list[str]:
    return sorted(span.name for span in receiver.spans if span.parent == parent.id)


def test_a_call_is_a_client_span_a_server_span_and_the_handlers_own(receiver: Receiver) -> None:
    with beam(receiver) as started, outer() as above:
        assert started.submit(traced.plain, 7).result() == 7
    client, server = receiver.one(CLIENT), receiver.one(SERVER)
    assert (client.name, client.parent, client.scope) == ("traced.plain", above, "slither")
    assert (server.name, server.parent, server.scope) == ("traced.plain", client.id, "slither")
    own = receiver.one(INTERNAL)
    assert (own.name, own.parent, own.scope) == ("plain", server.id, "tests")
    assert own.attributes["done"] is True
    assert {span.trace for span in receiver.spans} == {client.trace}
    for span in (client, server):
        assert span.attributes["rpc.system.name"] == "slither"
        assert span.attributes["rpc.method"] == "traced.plain"
        assert (span.attributes["slither.pool"], span.attributes["slither.worker"]) == (
            "default",
            0,
        )
        assert "error.type" not in span.attributes
        assert not span.failed
    assert client.start <= server.start <= own.start <= own.end <= server.end <= client.end
    assert server.service == "slither"


def test_an_exception_fails_both_spans_and_is_an_event(receiver: Receiver) -> None:
    with beam(receiver) as started, outer():
        assert isinstance(started.submit(traced.fails, 3).exception(), LookupError)
    for kind in (CLIENT, SERVER):
        span = receiver.one(kind)
        assert span.failed
        assert span.attributes["error.type"] == "LookupError"
        ((name, facts),) = span.events
        assert (name, facts["exception.type"]) == ("exception", "LookupError")
        assert facts["exception.message"] == "no 3"
        assert "in fails" in facts["exception.stacktrace"]
        assert "slither/_worker" not in facts["exception.stacktrace"]


def test_a_batch_that_fails_as_a_whole(receiver: Receiver) -> None:
    handler: Any = traced.some_fail
    with beam(receiver) as started, outer():
        results = list(started.map(handler, [1, 2], batch_size=2, on_error="return"))
    assert [type(result) for result in results] == [KeyError, KeyError]
    for kind in (CLIENT, SERVER):
        assert receiver.one(kind).attributes["error.type"] == "KeyError"
        assert receiver.one(kind).attributes["slither.items"] == 2


def test_items_that_fail_are_counted_and_their_call_went_well(receiver: Receiver) -> None:
    with beam(receiver) as started, outer():
        items = started.map(
            work.fail_odd, [1, 2, 3, 4], batch_size=4, each=True, on_error="return"
        )
        assert [isinstance(item, LookupError) for item in items] == [True, False, True, False]
    for kind in (CLIENT, SERVER):
        span = receiver.one(kind)
        assert span.attributes["slither.items.failed"] == 2
        assert not span.failed


def test_a_killed_call_is_ended_by_beam_with_the_stack(
    receiver: Receiver, tmp_path: Path
) -> None:
    with beam(receiver) as started, outer() as above:
        # What is loaded with the first call of all takes its time.
        started.submit(traced.plain, 1).result()
        call = started.submit_with(traced.hangs, [str(tmp_path / "began")], timeout=0.5)
        with pytest.raises(slither.CallTimeout):
            call.result()
    _first, client = receiver.of_kind(CLIENT)
    assert (client.name, client.parent) == ("traced.hangs", above)
    assert client.failed
    assert client.attributes["error.type"] == "timeout"
    ((name, facts),) = client.events
    assert (name, facts["exception.type"]) == ("exception", "timeout")
    assert "hangs" in facts["exception.stacktrace"]
    assert [span.name for span in receiver.of_kind(SERVER)] == ["traced.plain"]


def test_a_worker_that_dies_ends_the_span_of_its_call(receiver: Receiver) -> None:
    with beam(receiver) as started, outer():
        assert isinstance(started.submit(traced.ends, 1).exception(), slither.WorkerDied)
    assert receiver.one(CLIENT).attributes["error.type"] == "worker_died"


@pytest.mark.parametrize(
    ("handler", "names"),
    [
        (traced.threads, ["executor", "thread"]),
        (traced.coroutines, ["created", "task", "to_thread"]),
    ],
)
def test_the_span_is_current_where_the_handlers_code_runs(
    receiver: Receiver, handler: Any, names: list[str]
) -> None:
    with beam(receiver) as started, outer():
        started.submit(handler, 1).result()
    assert below(receiver, receiver.one(SERVER)) == names


def test_a_thread_that_outlives_a_call_works_for_the_next(receiver: Receiver) -> None:
    with beam(receiver) as started:
        for _ in range(2):
            with outer():
                started.submit(traced.kept_executor, 1).result()
    for server in receiver.of_kind(SERVER):
        assert below(receiver, server) == ["kept executor"]


@pytest.mark.parametrize(
    "handler", [traced.yields, traced.yields_async, traced.batch_of_coroutines]
)
def test_the_span_is_current_in_handlers_of_a_list(receiver: Receiver, handler: Any) -> None:
    with beam(receiver) as started, outer():
        assert list(started.map(handler, [1, 2, 3], each=False, batch_size=3)) == [1, 2, 3]
    assert len(below(receiver, receiver.one(SERVER))) == 3


def test_the_span_is_current_where_items_have_a_limit(receiver: Receiver) -> None:
    with beam(receiver) as started, outer():
        results = started.map(traced.coroutines, [1, 2], item_timeout=60, batch_size=2)
        assert list(results) == [None, None]
    assert len(below(receiver, receiver.one(SERVER))) == 6


@pytest.mark.parametrize("handler", [traced.values, traced.values_async])
def test_each_chunk_of_many_values_is_a_call(receiver: Receiver, handler: Any) -> None:
    with beam(receiver) as started, outer() as above:
        assert list(started.stream_call(handler, 1_500)) == list(range(1_500))
    clients, servers = receiver.of_kind(CLIENT), receiver.of_kind(SERVER)
    assert len(clients) >= 2
    name = f"traced.{handler.__name__}"
    assert {(span.name, span.parent) for span in clients} == {(name, above)}
    assert [span.parent for span in servers] == [span.id for span in clients]
    assert {span.name for span in servers} == {name}
    values = [span for span in receiver.spans if span.name == "value"]
    assert len(values) == 1_500
    assert {span.trace for span in values} == {clients[0].trace}


def test_a_map_has_a_span_for_each_batch(receiver: Receiver) -> None:
    with beam(receiver) as started:
        results = started.map(traced.batch, range(6), each=False, batch_size=2, trace=PARENT)
        assert list(results) == list(range(6))
    clients = receiver.of_kind(CLIENT)
    assert [span.attributes["slither.batch"] for span in clients] == [0, 1, 2]
    assert {(span.trace, span.parent) for span in clients} == {(PARENT[3:35], PARENT[36:52])}
    assert {span.attributes["slither.items"] for span in clients} == {2}
    assert all(span.attributes["slither.run"] for span in clients)


def test_a_pipes_spans_name_it_and_the_stage(receiver: Receiver) -> None:
    pipe = Pipe("scoring").python("score", traced.plain)
    with beam(receiver) as started, outer() as above:
        started.run(pipe, [1, 2])
    for span in receiver.of_kind(CLIENT) + receiver.of_kind(SERVER):
        assert (span.attributes["slither.pipe"], span.attributes["slither.stage"]) == (
            "scoring",
            "score",
        )
    assert {span.parent for span in receiver.of_kind(CLIENT)} == {above}


def test_callers_that_share_a_batch_are_linked_to_it(receiver: Receiver, tmp_path: Path) -> None:
    parents: dict[int, str] = {}
    with beam(receiver) as started:
        busy, go = tmp_path / "busy", tmp_path / "go"
        hold = started.submit(work.wait_between, str(busy), str(go))
        work.wait_for(str(busy))
        gather = started.gather(traced.batch, each=False, max_wait=60)
        futures = []
        for item in range(2):
            with outer() as above:
                futures.append(gather.submit(item))
                parents[item] = above
        go.touch()
        assert hold.result() is None
        assert [future.result() for future in futures] == [0, 1]
    (client,) = [span for span in receiver.of_kind(CLIENT) if span.name == "traced.batch"]
    assert sorted(client.links) == sorted(parents.values())
    assert client.parent == ""
    assert receiver.of_kind(CONSUMER) == []


def test_a_call_of_a_gather_is_below_its_only_caller(receiver: Receiver) -> None:
    with beam(receiver) as started:
        gather = started.gather(traced.batch, each=False)
        with outer() as above:
            assert gather(5) == 5
    assert (receiver.one(CLIENT).parent, receiver.one(CLIENT).links) == (above, [])


def test_calls_of_many_threads_are_each_below_their_own_span(receiver: Receiver) -> None:
    made: dict[str, int] = {}

    def call(started: slither.Beam, item: int) -> None:
        with outer() as above:
            made[above] = started.submit(traced.plain, item).result()

    with beam(receiver, workers=2) as started:
        threads = [threading.Thread(target=call, args=(started, item)) for item in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {span.parent for span in receiver.of_kind(CLIENT)} == made.keys()
    assert len(receiver.of_kind(SERVER)) == 8


def test_a_session_keeps_its_order_and_names_what_it_calls(receiver: Receiver) -> None:
    with beam(receiver) as started:
        calls = []
        for item in range(3):
            with outer():
                calls.append(started.submit_with(traced.plain, [item], session="s"))
        assert [call.result() for call in calls] == [0, 1, 2]
    for kind in (CLIENT, SERVER):
        assert [span.name for span in receiver.of_kind(kind)] == ["traced.plain"] * 3


def test_a_provider_of_the_workers_own_exports_by_itself(receiver: Receiver) -> None:
    with beam(receiver) as started:
        with outer():
            started.submit(own_provider.work, 1).result()
        ended = started.submit(own_provider.ended).result()
    client = receiver.one(CLIENT)
    assert [span.name for span in receiver.spans] == ["own_provider.work"]
    inner, server = ended
    assert server[:3] == ("own_provider.work", trace.SpanKind.SERVER.value, client.id)
    assert inner[:3] == ("inner", trace.SpanKind.INTERNAL.value, server[3])


def test_a_provider_that_fails_costs_the_call_nothing(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with beam(receiver) as started, outer():
        for item in range(2):
            assert started.submit(broken_provider.double, item).result() == 2 * item
        assert started.status()["died"] == 0
    assert "the span of a call could not be recorded" in caplog.text
    assert len(receiver.of_kind(CLIENT)) == 2


def test_without_the_package_a_worker_has_the_calls_span_alone(receiver: Receiver) -> None:
    with beam(receiver, initializer=without_opentelemetry.forget_all) as started, outer():
        assert started.submit(work.power, 3).result() == 9
        assert isinstance(started.submit(work.fail, 3).exception(), LookupError)
    clients, servers = receiver.of_kind(CLIENT), receiver.of_kind(SERVER)
    assert [span.parent for span in servers] == [span.id for span in clients]
    assert [span.name for span in servers] == ["work.power", "work.fail"]
    assert servers[1].attributes["error.type"] == "LookupError"
    assert "in fail" in servers[1].events[0][1]["exception.stacktrace"]


def test_without_the_sdk_the_calls_span_is_current_all_the_same(receiver: Receiver) -> None:
    with beam(receiver, initializer=without_opentelemetry.forget_the_sdk) as started, outer():
        current, sampled, above, _loaded = started.submit(traced.seen).result()
    client, server = receiver.one(CLIENT), receiver.one(SERVER)
    assert server.parent == client.id
    assert (current, sampled) == (client.trace, 1)
    assert above == f"00-{client.trace}-{client.id}-01"


def test_what_is_not_traced_has_no_span_and_loads_nothing(receiver: Receiver) -> None:
    with beam(receiver) as started:
        _trace, _sampled, above, loaded = started.submit(traced.seen).result()
        assert (above, loaded) == (None, [])
        assert list(started.map(traced.plain, [1, 2])) == [1, 2]
    assert receiver.spans == []


def test_what_is_not_sampled_stays_so_in_the_worker(receiver: Receiver) -> None:
    with beam(receiver) as started:
        ((current, sampled, above, _loaded),) = started.map(seen_of, [1], trace=UNSAMPLED)
        assert (current, sampled, above) == (UNSAMPLED[3:35], 0, UNSAMPLED)
        list(started.map(traced.plain, [1], trace=UNSAMPLED))
    assert receiver.spans == []


def seen_of(_item: int) -> list[Any]:
    return traced.seen()


def test_a_sample_of_what_has_no_trace_begins_one(receiver: Receiver) -> None:
    own: Any = {"endpoint": receiver.url, "sample": 1.0, "service": "shop"}
    own["headers"] = {"x-key": "secret"}
    with slither.Beam(1, trace=own) as started:
        for item in range(2):
            started.submit(traced.plain, item).result()
    roots = receiver.of_kind(CLIENT)
    assert [span.parent for span in roots] == ["", ""]
    assert len({span.trace for span in roots}) == 2
    assert {span.service for span in receiver.spans} == {"shop"}
    assert {headers["x-key"] for headers in receiver.headers} == {"secret"}


def test_the_environment_says_where_spans_go(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url + "/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b,other=1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from the environment")
    with slither.Beam(1) as started, outer():
        started.submit(traced.plain, 1).result()
    assert receiver.one(CLIENT).service == "from the environment"
    assert receiver.headers[0]["x-key"] == "a b"
    with slither.Beam(1, trace=False) as started, outer():
        started.submit(traced.plain, 1).result()
    assert len(receiver.of_kind(CLIENT)) == 1


def test_where_nobody_records_a_trace_goes_through_as_it_is(escript: Path) -> None:
    with slither.Beam(1) as started:
        with outer() as above:
            current, sampled, given, _loaded = started.submit(traced.seen).result()
            assert given == f"00-{current}-{above}-01"
            assert sampled == 1
        ((_, _, given, _),) = started.map(seen_of, [1], trace="order 17")
        assert given == "order 17"


def test_spans_of_a_long_call_come_before_it_ends(receiver: Receiver, tmp_path: Path) -> None:
    with beam(receiver) as started, outer():
        call = started.submit(traced.many_then_wait, 300, str(tmp_path / "go"))
        receiver.wait(lambda spans: len(spans) >= 128)
        assert not call.done()
        (tmp_path / "go").touch()
        call.result()
    assert len(below(receiver, receiver.one(SERVER))) == 300


def test_a_call_has_no_more_spans_than_it_may(receiver: Receiver) -> None:
    with beam(receiver) as started, outer():
        started.submit(traced.many_spans, 3_000).result()
        started.submit(traced.plain, 1).result()
    assert len([span for span in receiver.spans if span.name == "one of many"]) <= 2_048
    assert len([span for span in receiver.spans if span.name == "plain"]) == 1


def test_a_receiver_that_is_not_there_costs_the_program_nothing(escript: Path) -> None:
    gone = Receiver()
    gone.close()
    with slither.Beam(1, trace=gone.url) as started, outer():
        assert started.submit(traced.plain, 7).result() == 7


@pytest.mark.parametrize("wrong", [1, {"end": "x"}, ["http://here"]])
def test_what_is_no_place_for_spans_is_refused(wrong: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=r"trace(:| is a bool, a URL or a dict of options)"
    ):
        slither.Beam(1, trace=wrong)


def test_an_endpoint_that_is_no_url_is_an_error(escript: Path) -> None:
    with pytest.raises(ValueError, match=r"^trace: option 'endpoint' takes a URL"):
        slither.Beam(1, trace="localhost")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "order 17",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + "-more",
        "ff" + PARENT[2:],
        PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
    ],
)
def test_what_is_no_traceparent(text: str | None) -> None:
    assert tracing.parent_of(text) is None


def test_a_later_version_of_a_traceparent_may_say_more() -> None:
    found = tracing.parent_of("01" + PARENT[2:] + "-more")
    assert found is not None
    assert (found.trace.hex(), found.span.hex(), found.sampled) == (
        PARENT[3:35],
        PARENT[36:52],
        True,
    )
