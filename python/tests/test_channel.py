from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterator

import pytest

from slither import ProtocolError
from slither._driver.channel import Channel

Pair = tuple[Channel, Channel]
_CAPACITY = 65_536


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ends = ours.detach(), theirs.detach()
    one, two = (Channel(end, end) for end in ends)
    yield one, two
    one.close()
    two.close()


def read(channel: Channel, timeout: float | None = 60) -> list[bytes]:
    got: list[bytes] = []
    assert channel.read(got.append, timeout) == bool(got)
    return got


def read_many(channel: Channel, count: int) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        got += read(channel)
    return got


def test_frames_come_as_they_were_sent(pair: Pair) -> None:
    one, two = pair
    one.write(b"a")
    assert read(two) == [b"a"]
    one.write(b"bc", memoryview(b"def"))
    assert read(two) == [b"bcdef"]
    assert read(two, timeout=0) == []


def test_frames_that_came_together_are_handed_on_together(pair: Pair) -> None:
    one, two = pair
    bodies = [bytes([n]) * n for n in range(1, 50)]
    for body in bodies:
        one.write(body)
    assert read(two) == bodies


def test_frames_go_over_a_pair_of_pipes() -> None:
    read_end, write_end = os.pipe()
    channel = Channel(read_end, write_end)
    channel.write(b"there and back")
    assert read(channel) == [b"there and back"]
    channel.close()
    for descriptor in (read_end, write_end):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 1 << 22])
def test_frames_of_any_size_come_whole(pair: Pair, size: int) -> None:
    one, two = pair
    body = os.urandom(size)

    def send() -> None:
        one.write(body)
        one.write(b"last")

    thread = threading.Thread(target=send)
    thread.start()
    assert read_many(two, 2) == [body, b"last"]
    thread.join()


def test_threads_write_whole_frames(pair: Pair) -> None:
    one, two = pair
    bodies = [bytes([n]) * 50_000 for n in range(1, 9)]
    threads = [threading.Thread(target=one.write, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    assert sorted(read_many(two, len(bodies))) == bodies
    for thread in threads:
        thread.join()


def test_the_end_is_seen_on_both_ways(pair: Pair) -> None:
    one, two = pair
    two.close()
    with pytest.raises(EOFError):
        read(one)
    with pytest.raises(BrokenPipeError):
        one.write(b"x")
    with pytest.raises(BrokenPipeError):
        two.write(b"x")


def test_an_empty_frame_is_refused(pair: Pair) -> None:
    with pytest.raises(ProtocolError, match="a frame of 0 bytes"):
        pair[0].write(b"")


class _Interrupted(Exception):
    pass


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """A SIGINT to the main thread, as Ctrl-C would send it."""

    def raise_it(*_args: object) -> None:
        raise _Interrupted

    before = signal.signal(signal.SIGINT, raise_it)
    main = threading.get_ident()
    yield lambda: signal.pthread_kill(main, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_write_goes_on_with_the_next(
    pair: Pair, interrupt: Callable[[], None]
) -> None:
    one, two = pair
    body = os.urandom(1 << 21)

    def watch() -> None:
        waiting = b""
        while struct.unpack("i", waiting or bytes(4))[0] < _CAPACITY:
            waiting = fcntl.ioctl(two._in, termios.FIONREAD, bytes(4))
        interrupt()

    thread = threading.Thread(target=watch)
    thread.start()
    with pytest.raises(_Interrupted):
        one.write(body)
    thread.join()
    sender = threading.Thread(target=one.write, args=(b"after",))
    sender.start()
    assert read_many(two, 2) == [body, b"after"]
    sender.join()


def test_an_interruption_waits_for_one_frame_of_many(
    pair: Pair, interrupt: Callable[[], None]
) -> None:
    one, two = pair
    got: list[bytes] = []

    def handle(body: bytes) -> None:
        got.append(body)
        if body == b"1":
            interrupt()

    for n in range(3):
        one.write(b"%d" % n)
    with pytest.raises(_Interrupted):
        two.read(handle)
    assert got == [b"0", b"1"]
    assert two.read(handle)
    assert got == [b"0", b"1", b"2"]


def test_an_interrupted_read_loses_nothing(pair: Pair, interrupt: Callable[[], None]) -> None:
    one, two = pair
    for n in range(200):
        body = b"%d" % n * 1_000
        threads = [
            threading.Thread(target=one.write, args=(body,)),
            threading.Thread(target=interrupt),
        ]
        got: list[bytes] = []
        try:
            for thread in threads:
                thread.start()
            while not got:
                two.read(got.append)
            for thread in threads:
                thread.join()
        except _Interrupted:
            while not got:
                two.read(got.append)
        for thread in threads:
            thread.join()
        assert got == [body]
