"""Mutated and random frames for Python's decoder, framing and link: each is taken or refused.

``python python/tests/fuzz.py --frames N --seed S`` prints what came of them, and fails where one
broke something; scripts/fuzz runs it beside BEAM's half. What is random follows from the seed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import re
import resource
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator

from tagged import load

from slither import DecodeError, EncodeError, ProtocolError
from slither._wire import frames
from slither._wire.build import frame
from slither._wire.glance import kind_and_id
from slither._worker.connection import Link
from slither.erlport import Port
from slither.protocol import unpack

KINDS = {record: kind for kind, record in frames.RECORDS.items()}
LONGEST = 16_384
MAX_FRAME = 8_192
LIMIT = 256 << 20
"""Bytes that the process may grow by."""
EDGES = bytes([0x00, 0x01, 0x7F, 0x80, 0x81, 0x8F, 0x90, 0x91, 0x9F, 0xA0, 0xBF])
EDGES += bytes(range(0xC0, 0xE1)) + b"\xff"
OPENINGS = (b"\x91", b"\x81\x01", b"\x81", b"\xdc\x00\x01", b"\x92", b"\x81\x91")
WORDS = ("kind", "message", "info", "get", "put", "function", "command", "", "é")


class Mutator:
    """Frames that are nearly right, and some that are nothing at all."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        good = [bytes.fromhex(row["hex"]) for row in load("frames")]
        # A value stands where a frame takes any.
        values = [b"\x94\x08\x01\x00" + bytes.fromhex(row["hex"]) for row in load("values")]
        bad = [bytes.fromhex(row["hex"]) for row in load("invalid")]
        # Frames count more than all the others, which are many.
        self.corpus = good * 6 + values + bad
        self.changes: list[Callable[[bytearray], bytes | bytearray]] = [
            self._flip,
            self._flip,
            self._flip,
            self._edge,
            self._edge,
            self._cut,
            self._go_on,
            self._splice,
            self._repeat,
            self._length,
            self._bomb,
            self._other_kind,
        ]

    def frame(self) -> bytes:
        """Make one."""
        draw = self.random.randrange(20)
        if draw == 0:
            return self.random.randbytes(self.random.randint(1, 512))
        if draw < 4:
            return self._made()
        body = bytearray(self.random.choice(self.corpus))
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 2, 3, 4))):
            body = bytearray(self.random.choice(self.changes)(body))
        return bytes(body[:LONGEST])

    def _at(self, body: bytes | bytearray) -> int:
        return self.random.randint(0, len(body))

    def _flip(self, body: bytearray) -> bytearray:
        if body:
            body[self.random.randrange(len(body))] ^= 1 << self.random.randrange(8)
        return body

    def _edge(self, body: bytearray) -> bytearray:
        if body:
            body[self.random.randrange(len(body))] = self.random.choice(EDGES)
        return body

    def _cut(self, body: bytearray) -> bytes | bytearray:
        return body[: self._at(body)]

    def _go_on(self, body: bytearray) -> bytes | bytearray:
        return body + self.random.randbytes(self.random.randint(1, 8))

    def _splice(self, body: bytearray) -> bytes | bytearray:
        other = self.random.choice(self.corpus)
        return body[: self._at(body)] + other[self._at(other) :]

    def _repeat(self, body: bytearray) -> bytes | bytearray:
        start, end = sorted((self._at(body), self._at(body)))
        return body[:start] + body[start:end] * self.random.choice((0, 2)) + body[end:]

    def _length(self, body: bytearray) -> bytes | bytearray:
        at = self._at(body)
        tag = self.random.choice((0xC4, 0xC6, 0xC9, 0xD9, 0xDB, 0xDC, 0xDD, 0xDF))
        length = self.random.choice((b"\xff" * 4, self.random.randbytes(4), b"\x03"))
        return body[:at] + bytes((tag,)) + length + body[at:]

    def _bomb(self, body: bytearray) -> bytes | bytearray:
        at = self._at(body)
        head = self.random.choice((b"", b"\x81"))
        bomb = head + self.random.choice(OPENINGS) * self.random.randint(1, 1_100)
        return body[:at] + bomb + body[at:]

    def _other_kind(self, body: bytearray) -> bytes | bytearray:
        head = bytes((0x90 + self.random.randint(1, 8), self.random.randrange(24)))
        return head + body[2:]

    def _made(self) -> bytes:
        fields = self.random.randrange(8)
        head = bytes((0x91 + fields, self.random.randrange(22)))
        return head + b"".join(self._value(3) for _ in range(fields))

    def _value(self, depth: int) -> bytes:
        if depth == 0:
            return bytes((self.random.choice(EDGES),))
        draw = self.random.randrange(12)
        if draw < 4:
            return bytes((self.random.randrange(128),))
        if draw < 7:
            tag = self.random.choice((0xCF, 0xD3, 0xCB))
            return bytes((tag,)) + self.random.randbytes(8)
        if draw == 7:
            return bytes((self.random.choice((0xC0, 0xC2, 0xC3)),))
        if draw == 8:
            return self._extension(depth)
        if draw == 9:
            word = self.random.choice(WORDS).encode()
            return bytes((0xA0 + len(word),)) + word
        if draw == 10:
            return b"\x92" + self._value(depth - 1) + self._value(depth - 1)
        return b"\x81" + self._value(0) + self._value(depth - 1)

    def _extension(self, depth: int) -> bytes:
        code = self.random.randint(1, 17)
        if code < 16:
            size = self.random.choice((4, 8, 12, 16, 20, 25))
            return bytes((0xC7, size, code)) + self.random.randbytes(size)
        # A mark, mostly where one belongs.
        parts = [self._value(depth - 1) for _ in range(self.random.randrange(4))]
        parts.insert(self.random.choice((0, 0, 0, len(parts))), bytes((0xD4, 16, code % 5)))
        parts[0] = parts[0][:2] + bytes((self.random.randrange(5),)) + parts[0][3:]
        return bytes((0x90 + len(parts),)) + b"".join(parts)


class Tally:
    """How many were taken and how many refused, and for what."""

    def __init__(self) -> None:
        self.taken = self.refused = 0
        self.reasons: collections.Counter[str] = collections.Counter()
        self.broken: list[str] = []

    def took(self) -> None:
        self.taken += 1

    def refuse(self, error: Exception | str) -> None:
        self.refused += 1
        text = str(error)
        assert text, "a refusal without a reason"
        text.encode()
        if len(self.reasons) < 1_000:
            self.reasons[re.sub(r"'.*'|\".*\"|\d+|0x\w+", "N", text)[:60]] += 1

    def broke(self, where: str, body: bytes) -> None:
        self.broken.append(f"{where}: {body[:200].hex()}\n{traceback.format_exc()}")

    def __str__(self) -> str:
        kinds = (
            f"{self.taken} taken, {self.refused} refused for {len(self.reasons)} kinds of reasons"
        )
        top = "".join(f"\n{count:>32} {text}" for text, count in self.reasons.most_common(8))
        return kinds + top


def decode(body: bytes, tally: Tally) -> None:
    """Hand a frame to everything that reads bytes."""
    try:
        got = frames.parse(body)
    except (DecodeError, ProtocolError) as error:
        tally.refuse(error)
    else:
        again(got)
        tally.took()
    kind, identity = kind_and_id(body)
    assert identity >= 0, (kind, identity)
    with contextlib.suppress(DecodeError):
        unpack(body)


def again(got: frames.Frame) -> None:
    """Send a frame that was taken, and take it again."""
    try:
        body = frame(KINDS[type(got)], *got)
    except EncodeError as error:
        # A frame may nest a little deeper than what is sent in one.
        if "nests" not in str(error):
            raise
        return
    same = frames.parse(body)
    try:
        assert repr(same) == repr(got), (same, got)
    except RecursionError:
        assert frame(KINDS[type(same)], *same) == body


def serve(bodies: list[bytes], tally: Tally) -> None:
    """Hand frames to a link: it takes each one, or answers with a reason, and goes on."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as written:
        for body in bodies:
            given.write(struct.pack(">I", len(body)) + body)
        given.seek(0)
        port = Port(descriptors=(os.dup(given.fileno()), os.dup(written.fileno())))
        # A shutdown is taken too, and so is what breaks a link: the next one has the rest.
        for _ in range(len(bodies) + 1):
            link = Link(port)
            try:
                while (incoming := link.next_call()) is not None:
                    link.is_cancelled(incoming.call.id)
                    link.forget(incoming.call.id)
            except Exception:  # noqa: BLE001 - whatever it is, it would have ended the worker
                tally.broke("link", b"")
            if link.ended:
                break
        port.close()
        written.seek(0)
        answers = Port(descriptors=(os.dup(written.fileno()), os.dup(written.fileno())))
        refused = sum(_is_refusal(body, tally) for body in _rest(answers))
        answers.close()
    tally.taken += len(bodies) - refused


def _is_refusal(body: bytes, tally: Tally) -> bool:
    got = frames.parse(body)
    if not isinstance(got, frames.Error):
        assert isinstance(got, frames.Pong), got
        return False
    assert got.error["kind"] in ("protocol", "not_decodable"), got
    tally.refuse(str(got.error["message"]))
    return True


def _rest(port: Port) -> Iterator[bytes]:
    with contextlib.suppress(EOFError):
        while True:
            yield port.read()


def ports(mutator: Mutator, tally: Tally) -> None:
    """Write frames with lengths that may be wrong to a port: read, refused, or the last."""
    stream = b""
    while len(stream) < 20_000:
        body = mutator.frame()[:4_096]
        length = len(body)
        if mutator.random.randrange(8) == 0:
            length = mutator.random.choice((0, length + 1, max(length - 1, 0), 9_000, 1 << 31))
        stream += struct.pack(">I", length) + body
    read, write = os.pipe()
    os.write(write, stream)
    os.close(write)
    port = Port(descriptors=(read, read), max_frame=MAX_FRAME)
    try:
        while True:
            try:
                assert 0 < len(port.read_body()) <= MAX_FRAME
                tally.took()
            except ProtocolError as error:
                tally.refuse(error)
            except EOFError:
                break
    except Exception:  # noqa: BLE001 - as above
        tally.broke("port", stream)
    finally:
        port.close()


def chunks(mutator: Mutator, count: int) -> Iterator[list[bytes]]:
    """Give ``count`` frames, some hundreds at a time."""
    while count > 0:
        size = min(count, 500)
        yield [mutator.frame() for _ in range(size)]
        count -= size


def run(count: int, seed: int) -> dict[str, Tally]:
    """Hand ``count`` frames to the decoder and to the link, and a part of them to ports."""
    mutator = Mutator(seed)
    tallies = {"decoder": Tally(), "link": Tally(), "port": Tally()}
    for bodies in chunks(mutator, count):
        for body in bodies:
            try:
                decode(body, tallies["decoder"])
            except Exception:  # noqa: BLE001 - whatever it is, it is no refusal
                tallies["decoder"].broke("decoder", body)
        serve(bodies, tallies["link"])
        for _ in range(4):
            ports(mutator, tallies["port"])
    return tallies


def peak() -> int:
    """Return the most bytes that the process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024


def main() -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    options = parser.parse_args()
    before, began = peak(), time.monotonic()
    tallies = run(options.frames, options.seed)
    took, grown = time.monotonic() - began, peak() - before
    broken = [text for tally in tallies.values() for text in tally.broken]
    print(f"Python: {options.frames} frames, seed {options.seed}, {took:.1f} s, ", end="")
    print(f"{options.frames / took:.0f} a second, memory grew by {grown / 2**20:.1f} MB at most")
    for name, tally in tallies.items():
        print(f"  {name}: {tally}")
    print("\n".join(broken[:5]))
    held = not broken and grown < LIMIT
    print(f"{len(broken)} frames broke something; {'it held' if held else 'IT DID NOT HOLD'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
