"""The bare port: frames of a length and a body, written by hand, with nothing around them.

``ask`` measures round trips that Python begins; without it, frames are echoed.
"""

import os
import statistics
import struct
import sys
import time


def read_exactly(size: int) -> bytes:
    """Read ``size`` bytes from descriptor 3."""
    data = os.read(3, size)
    while len(data) < size:
        data += os.read(3, size - len(data))
    return data


def read() -> bytes:
    """Read one frame."""
    return read_exactly(struct.unpack(">I", read_exactly(4))[0])


def write(body: bytes) -> None:
    """Write one frame."""
    os.write(4, struct.pack(">I", len(body)) + body)


def ask(count: int) -> None:
    """Send ``count`` small frames, one at a time, and report the median round trip in µs."""
    body = b"\x92\x01\xa7user:42"
    times = []
    for _ in range(count):
        began = time.perf_counter_ns()
        write(body)
        read()
        times.append(time.perf_counter_ns() - began)
    write(f"{statistics.median(times) / 1000:.3f}".encode())


if sys.argv[1:2] == ["ask"]:
    ask(int(sys.argv[2]))
else:
    while True:
        try:
            write(read())
        except (OSError, struct.error):
            break
