"""A handler that falls into traps: what they do is what makes workers fail in life."""

from __future__ import annotations

import ctypes
import faulthandler
import hashlib
import os
import resource
import time

from slither import store
from slither.worker import progress

TRAPS = store.table("chaos_traps")
ROUNDS = 80
ROOM = 64 << 20


def digest(numbers):
    """Give each number and a digest that takes some 50 µs to find; fall into a trap if set."""
    trap = TRAPS.pop("next", None)
    if trap is not None:
        number, kind = trap
        # Written before anything happens, so that BEAM knows whom the trap has caught.
        progress(number)
        TRAP[kind]()
    return [[number, work(number)] for number in numbers]


def work(number):
    value = str(number).encode()
    for _ in range(ROUNDS):
        value = hashlib.sha256(value).digest()
    return value.hex()[:16]


def sleep():
    time.sleep(3_600)


def spin():
    while True:
        pass


def hang_in_c():
    """Sleep in C with the interpreter's lock held, so that no thread of Python's runs."""
    ctypes.PyDLL(None).sleep(3_600)


def exhaust_memory():
    """Take all memory there is, down to the last byte, within a limit of this process's own."""
    # C code that gets no memory may abort, now or later.
    faulthandler.disable()
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, resource.RLIM_INFINITY))
    held = []
    block = ROOM
    while block:
        try:
            held.append(bytearray(block))
        except MemoryError:
            block //= 2
    raise MemoryError(f"{len(held)} blocks")


def exhaust_memory_in_c():
    """As C code does that gets no memory."""
    try:
        exhaust_memory()
    finally:
        os.abort()


def crash():
    # Its report would go to the terminal, once for each crash.
    faulthandler.disable()
    ctypes.string_at(0)


def leave():
    os._exit(7)


def close_descriptors():
    os.closerange(3, 65_536)


TRAP = {
    "sleep": sleep,
    "spin": spin,
    "hang in C": hang_in_c,
    "memory": exhaust_memory,
    "memory in C": exhaust_memory_in_c,
    "segfault": crash,
    "exit": leave,
    "closed descriptors": close_descriptors,
}
