"""A worker's connection by itself: BEAM's side is the other end of two pipes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from slither import SlitherError, Tagged
from slither._types import Payload
from slither._wire import build, frames
from slither._worker import current
from slither._worker.connection import Link
from slither.erlport import Port

PATIENCE = 30


class Ends:
    """A link, and what BEAM does with it."""

    def __init__(self) -> None:
        there, here = os.pipe(), os.pipe()
        self.port = Port(descriptors=(there[0], here[1]))
        self.beam = Port(descriptors=(here[0], there[1]))
        self.link = Link(self.port)

    def tell(self, kind: int, *fields: Payload) -> None:
        self.beam.write(build.frame(kind, *fields))

    def read(self) -> Payload:
        return frames.parse(self.beam.read())

    def close(self) -> None:
        self.beam.close()
        self.port.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def view(ends: Ends, name: str) -> Callable[[], frames.Answer | None]:
    return lambda: ends.link.ask_view(1, name, 0, None, None)


def call(identity: int) -> tuple[Payload, ...]:
    return frames.CALL, identity, ["command", "f"], {}, 0, 1, []


def test_answers_find_who_asked_whoever_reads(ends: Ends, threads: ThreadPoolExecutor) -> None:
    asked: dict[str, Future[frames.Answer | None]] = {}
    ids: dict[str, int] = {}
    for name in ("first", "second", "third"):
        asked[name] = threads.submit(view(ends, name))
        question = ends.read()
        ids[question.name] = question.id
    # The first reads for all; its own answer is the last, so that another must take over.
    for name in ("third", "first", "second"):
        ends.tell(frames.VIEW_REPLY, ids[name], 0, name)
    assert {name: done.result(PATIENCE) for name, done in asked.items()} == {
        name: (0, name) for name in asked
    }


def test_calls_and_cancels_come_while_a_handler_asks(
    ends: Ends, threads: ThreadPoolExecutor
) -> None:
    answer = threads.submit(view(ends, "v"))
    question = ends.read()
    ends.tell(*call(7))
    ends.tell(frames.CANCEL, 7)
    ends.tell(frames.CANCEL, 9)
    ends.tell(*call(8))
    ends.tell(frames.VIEW_REPLY, question.id, 1, {"kind": "k"})
    assert answer.result(PATIENCE) == (1, {"kind": "k"})
    found = []
    for _ in range(2):
        incoming = ends.link.next_call()
        assert incoming is not None
        found.append((incoming.call.id, ends.link.is_dropped(incoming.call.id)))
        ends.link.forget(incoming.call.id)
    assert found == [(7, True), (8, False)]
    assert ends.link.is_gone(9)
    assert ends.link.news == 2


def test_nothing_is_kept_of_a_call_that_was_cancelled_before_it_began(ends: Ends) -> None:
    *head, _items = call(7)
    ends.tell(*head, [Tagged("tests.Unknown", 1)])
    ends.tell(frames.CANCEL, 7)
    incoming = ends.link.next_call()
    assert incoming is not None
    assert 7 in current.sealed
    ends.link.forget(7)
    assert 7 not in current.sealed


def test_the_end_is_told_to_all_who_wait(ends: Ends, threads: ThreadPoolExecutor) -> None:
    waiting = [threads.submit(view(ends, "v")) for _ in range(2)]
    waiting.append(threads.submit(lambda: ends.link.wait(lambda: False)))
    for _ in range(2):
        ends.read()
    os.close(ends.beam._out)
    assert [done.result(PATIENCE) for done in waiting] == [None, None, None]
    assert ends.link.ended
    assert ends.link.next_call() is None
    assert ends.link.is_cancelled(1)
    ends.beam._out = os.open(os.devnull, os.O_WRONLY)


def test_what_asks_in_the_middle_of_its_own_question_is_refused(ends: Ends) -> None:
    refused: list[str] = []
    send = ends.port._send

    # As a finaliser that the garbage collector runs here.
    def send_and_ask(data: bytes | memoryview) -> None:
        ends.port._send = send  # type: ignore[method-assign]
        with pytest.raises(SlitherError) as error:
            ends.link.ask_table(1, "t", "size", ())
        refused.append(str(error.value))
        ends.link.tell_table(1, "t", "scan_end", (4,))
        send(data)

    ends.port._send = send_and_ask  # type: ignore[method-assign]
    ends.tell(frames.VIEW_REPLY, 1, 0, "answer")
    assert view(ends, "v")() == (0, "answer")
    assert "a finaliser asked BEAM for something" in refused[0]
    ends.link.send((build.frame(frames.PONG, 1),))
    assert [type(ends.read()).__name__ for _ in range(3)] == ["ViewCall", "TableCall", "Pong"]


def test_results_get_the_credit_of_their_own_call(ends: Ends) -> None:
    heard: list[tuple[int, int]] = []

    def on_credit(call: int, count: int) -> bool:
        heard.append((call, count))
        return call == 5

    ends.link.on_credit = on_credit
    for identity in (4, 5, 6):
        ends.tell(frames.CREDIT, identity, 10 * identity)
    ends.link.wait(lambda: len(heard) == 3)
    assert heard == [(4, 40), (5, 50), (6, 60)]
    assert ends.link.news == 1


def test_a_thread_that_waits_reads_once_the_reader_is_done(
    ends: Ends, threads: ThreadPoolExecutor
) -> None:
    first = threads.submit(view(ends, "v"))
    question = ends.read()
    waits = threading.Event()

    def is_cancelled() -> bool:
        waits.set()
        return ends.link.is_gone(3)

    second = threads.submit(lambda: ends.link.wait(is_cancelled))
    assert waits.wait(PATIENCE)
    ends.tell(frames.VIEW_REPLY, question.id, 0, 1)
    assert first.result(PATIENCE) == (0, 1)
    ends.tell(frames.CANCEL, 3)
    second.result(PATIENCE)
