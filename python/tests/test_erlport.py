from __future__ import annotations

import fcntl
import os
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from slither import ProtocolError
from slither.erlport import Port


@pytest.fixture
def pipes() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        try:
            os.close(descriptor)
        except OSError:
            continue


@pytest.mark.parametrize("packet", [1, 2, 4])
def test_messages_of_every_header(pipes: tuple[int, int], packet: int) -> None:
    port = Port(packet=packet, descriptors=pipes)
    assert port.write(b"abc") == 3
    assert port.write(b"d", b"ef") == 3
    assert port.has_input()
    assert [port.read(), port.read()] == [b"abc", b"def"]
    assert not port.has_input()


def test_the_bytes(pipes: tuple[int, int]) -> None:
    Port(descriptors=pipes).write(b"abc")
    assert os.read(pipes[0], 99) == b"\0\0\0\x03abc"


@pytest.mark.parametrize("blocking", [True, False])
def test_large_messages_from_many_threads(pipes: tuple[int, int], blocking: bool) -> None:
    for descriptor in pipes:
        os.set_blocking(descriptor, blocking)
    port = Port(descriptors=pipes)
    sent = [bytes([number]) * (number * 100_000 + 1) for number in range(12)]
    threads = [threading.Thread(target=port.write, args=(body,)) for body in sent]
    for thread in threads:
        thread.start()
    got = [port.read() for _ in sent]
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(sent)


def test_limits_are_checked_on_both_sides(pipes: tuple[int, int]) -> None:
    port = Port(descriptors=pipes, max_frame=10)
    for body in (b"", b"x" * 11):
        with pytest.raises(ProtocolError):
            port.write(body)
    os.write(pipes[1], b"\0\0\0\0" + b"\0\0\0\x0b" + b"y" * 11 + b"\0\0\0\x01z")
    with pytest.raises(ProtocolError, match="length 0"):
        port.read()
    with pytest.raises(ProtocolError, match="over the limit"):
        port.read()
    assert port.read() == b"z"
    with pytest.raises(ProtocolError):
        Port(packet=1, descriptors=pipes).write(b"x" * 256)


@pytest.mark.parametrize("part", [b"", b"\0\0", b"\0\0\0\x05ab", b"\0\x02\0\0ab"])
def test_the_end(pipes: tuple[int, int], part: bytes) -> None:
    os.write(pipes[1], part)
    os.close(pipes[1])
    with pytest.raises(EOFError):
        Port(descriptors=pipes).read()


def test_closing_twice(pipes: tuple[int, int]) -> None:
    port = Port(descriptors=pipes)
    port.close()
    port.close()
    assert port.closed
    with pytest.raises(BrokenPipeError):
        port.write(b"x")
    with pytest.raises(EOFError):
        port.read()


def test_options() -> None:
    with pytest.raises(ValueError, match="1, 2 or 4"):
        Port(packet=3)
    with pytest.raises(ValueError, match="compressed"):
        Port(compressed=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' pipes keep their size")
def test_a_long_message_makes_a_pipe_hold_it() -> None:
    ours, theirs = os.pipe(), os.pipe()
    writer = Port(descriptors=(ours[0], theirs[1]))
    reader = Port(descriptors=(theirs[0], ours[1]))
    body = bytes(200_000)
    thread = threading.Thread(target=writer.write, args=(body,))
    thread.start()
    assert reader.read() == body
    thread.join()
    assert fcntl.fcntl(theirs[1], fcntl.F_GETPIPE_SZ) == 262_144
    assert fcntl.fcntl(ours[1], fcntl.F_GETPIPE_SZ) == 65_536
    writer.close()
    reader.close()


def test_what_can_not_be_made_wider_carries_long_messages_too() -> None:
    here, there = socket.socketpair()
    with here, there:
        writer = Port(descriptors=(here.fileno(), here.fileno()))
        reader = Port(descriptors=(there.fileno(), there.fileno()))
        bodies = [bytes([number]) * 300_000 for number in range(3)]
        thread = threading.Thread(target=lambda: [writer.write(body) for body in bodies])
        thread.start()
        assert [reader.read() for _ in bodies] == bodies
        thread.join()
