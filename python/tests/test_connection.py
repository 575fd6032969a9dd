"""The parts of a driver's connection, each with a peer that the test plays itself."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from slither._driver.channel import LONGEST, Channel, header
from slither._driver.job import Group
from slither._driver.reader import Box, Reader
from slither._driver.writer import Writer
from slither._version import MAX_FRAME
from slither._wire import build, frames

PATIENCE = 30


@pytest.fixture
def channel() -> Iterator[Channel]:
    made = Channel()
    with made.theirs:
        yield made
    made.shut()


def received(peer: socket.socket) -> bytes:
    (size,) = struct.unpack(">I", peer.recv(4, socket.MSG_WAITALL))
    return peer.recv(size, socket.MSG_WAITALL)


def test_a_frame_is_written_whole_and_frames_are_read_until_the_end(channel: Channel) -> None:
    body = bytes(LONGEST)
    sender = threading.Thread(target=channel.put, args=(header(len(body)) + body,))
    sender.start()
    assert received(channel.theirs) == body
    sender.join()
    channel.theirs.sendall(header(2) + b"ab" + header(1) + b"c" + header(9) + b"cut")
    channel.theirs.shutdown(socket.SHUT_WR)
    assert list(channel.frames()) == [b"ab", b"c"]


@pytest.mark.parametrize("size", [0, MAX_FRAME + 1])
def test_a_frame_beyond_the_limits_is_refused(channel: Channel, size: int) -> None:
    channel.theirs.sendall(header(size))
    with pytest.raises(Exception, match=f"a frame of {size} bytes"):
        next(channel.frames())


def test_what_is_written_to_a_closed_end_is_the_readers_to_tell(channel: Channel) -> None:
    channel.theirs.close()
    for _ in range(3):
        channel.put(b"nobody reads this")
    assert list(channel.frames()) == []


@pytest.fixture
def writer(channel: Channel) -> Iterator[Writer]:
    made = Writer(channel, lambda: None, lambda: None)
    made.thread.start()
    yield made
    made.order(made.stop)
    made.thread.join(PATIENCE)
    assert not made.thread.is_alive()


def test_orders_are_carried_out_in_turn_and_their_frames_go_together(
    channel: Channel, writer: Writer
) -> None:
    hold, held = threading.Event(), threading.Event()
    writer.order(held.set)
    writer.order(hold.wait, PATIENCE)
    assert held.wait(PATIENCE)
    for n in range(3):
        writer.order(writer.write, (b"frame ", str(n).encode()), 7)
    hold.set()
    assert [received(channel.theirs) for _ in range(3)] == [b"frame 0", b"frame 1", b"frame 2"]


def test_each_order_is_carried_out_or_refused_whenever_the_writer_stops(channel: Channel) -> None:
    told: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    ended = threading.Event()
    writer = Writer(channel, lambda: None, ended.set)
    writer.thread.start()

    def ask(first: int) -> None:
        for n in range(first, first + 500):
            writer.order(
                lambda n: told.put(("done", n)), n, refuse=lambda n: told.put(("refused", n))
            )

    askers = [threading.Thread(target=ask, args=(500 * n,)) for n in range(4)]
    for asker in askers:
        asker.start()
    writer.order(writer.stop)
    for asker in askers:
        asker.join()
    assert ended.wait(PATIENCE)
    found = [told.get_nowait() for _ in range(told.qsize())]
    assert sorted(n for _, n in found) == list(range(2_000))


def test_an_idle_writer_kills_when_time_is_up_and_looks_around_before(channel: Channel) -> None:
    seen: queue.SimpleQueue[str] = queue.SimpleQueue()
    writer = Writer(channel, lambda: seen.put("killed"), lambda: seen.put("ended"))
    writer.next_look, writer.look = (lambda: 0.01), (lambda: seen.put("looked"))
    writer.thread.start()
    assert seen.get(timeout=PATIENCE) == "looked"
    writer.next_look = lambda: None
    writer.order(writer.kill_in, 0.01)
    while (word := seen.get(timeout=PATIENCE)) == "looked":
        pass
    assert word == "killed"
    writer.order(writer.stop)
    assert seen.get(timeout=PATIENCE) == "ended"


def test_the_reader_gives_each_frame_to_whoever_has_its_id(channel: Channel) -> None:
    boxes: dict[int, Box] = {}
    lasting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    once: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    boxes[1], boxes[300] = lasting, once
    others: list[bytes] = []
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = Reader(channel, boxes, others.append, ended.put)
    more = build.frame(frames.MORE, 1, 2)
    reply = build.frame(frames.VIEW_REPLY, 300, 0, "yes")
    pong = build.frame(frames.PONG, 7)
    done = build.frame(frames.DONE, 1, {}, None)
    stray = build.frame(frames.MORE, 9, 1)
    for body in (more, reply, pong, stray, done, more, reply):
        channel.theirs.sendall(header(len(body)) + body)
    channel.theirs.shutdown(socket.SHUT_WR)
    reader.thread.start()
    assert ended.get(timeout=PATIENCE) == "BEAM closed the connection"
    assert [lasting.get_nowait() for _ in range(lasting.qsize())] == [more, done]
    assert [once.get_nowait() for _ in range(once.qsize())] == [reply]
    assert (others, boxes) == ([pong], {})


def test_a_reader_that_can_not_read_says_why(channel: Channel) -> None:
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    channel.theirs.sendall(header(0))
    Reader(channel, {}, lambda _body: None, ended.put).thread.start()
    assert ended.get(timeout=PATIENCE) == "what BEAM sent could not be read: a frame of 0 bytes"


def test_who_waits_for_a_group_is_told_once_none_is_left() -> None:
    group, told = Group(), list[str]()
    group.tell()
    group.left = {1: None, 2: None}  # type: ignore[dict-item]
    assert not group.settled(1)
    group.waiting.append(lambda: told.append("none left"))
    group.tell()
    assert told == []
    assert group.settled(2)
    group.tell()
    group.tell()
    assert told == ["none left"]
