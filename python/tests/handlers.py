"""Handlers that test workers preload."""

from __future__ import annotations

import array
import ctypes
import datetime
import fcntl
import logging
import os
import resource
import signal
import sys
import termios
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from slither import SlitherError, store, views
from slither._types import Payload
from slither.worker import (
    Failure,
    batch_handler,
    cancelled,
    context,
    item_handler,
    on_start,
    on_stop,
    progress,
    session,
)

started: list[str] = []


@on_start
def begin() -> None:
    started.append("yes")


@on_stop
def end() -> None:
    path = os.environ.get("SLITHER_TEST_STOPPED")
    if path:
        with open(path, "a") as file:
            file.write("stopped\n")


@item_handler
def halve(number: float) -> float:
    """Raises for what is no number."""
    return number / 2


@batch_handler
def echo(items: list[Payload]) -> list[Payload]:
    return items


@batch_handler("was_started")
def was_started(items: list[Payload]) -> list[Payload]:
    return [started for _ in items]


@batch_handler
def noisy(items: list[Payload]) -> list[Payload]:
    print("printed", "twice")
    print("unfinished", end="")
    os.write(1, b"\x00\x00\x00\x01raw\n")
    ctypes.CDLL(None).puts(b"from C")
    print("to stderr", file=sys.stderr)
    return items


@batch_handler
def draws_a_bar(items: list[str]) -> list[str]:
    for done in range(50):
        os.write(2, b"\r%d%%|" % done)
    while not os.path.exists(items[0]):
        os.sched_yield()
    os.write(2, b"\r100%| done\n")
    return items


@batch_handler
def redirects(items: list[int]) -> list[int]:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    sys.stderr.close()
    os.close(2)
    return items


@batch_handler
def flood(items: list[int]) -> list[int]:
    for count in items:
        os.write(1, b"line\n" * count)
    return items


@batch_handler
def logs(items: list[str]) -> list[str]:
    for item in items:
        logging.getLogger("mine").info("said %s", item)
    return items


@batch_handler
def talks_until(items: list[str]) -> list[str]:
    """Log lines until a file is there, without a look at what BEAM sends."""
    count = 0
    while not os.path.exists(items[0]):
        count += 1
        logging.getLogger("mine").info("line %d", count)
    return items


@batch_handler
def complains(items: list[str]) -> list[str]:
    """Write items to standard error, the last without an end, and die if it is `kill`."""
    *lines, last = items
    dies = last == "kill"
    if dies:
        *lines, last = lines
    os.write(2, "".join(f"{line}\n" for line in lines).encode() + last.encode())
    if dies:
        # The rest of the pipe is not read by anybody here: it is left to the thread.
        while waiting(2):
            os.sched_yield()
        os.kill(os.getpid(), signal.SIGKILL)
    return items


def waiting(descriptor: int) -> int:
    """Return how many bytes a pipe holds."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


class Unlucky:
    def __del__(self) -> None:
        raise ValueError("nobody sees it")


@batch_handler
def fails_unseen(items: list[str]) -> list[str]:
    def run() -> None:
        raise ValueError("100% in a thread")

    def leave() -> None:
        raise SystemExit

    for target in (run, leave):
        thread = threading.Thread(target=target, name="the-thread")
        thread.start()
        thread.join()
    Unlucky()
    return items


@batch_handler
def abuses_descriptors(items: list[int]) -> list[int]:
    for descriptor in (3, 4):
        os.write(descriptor, b"\xff\xff\xff\xffjunk")
        assert os.read(descriptor, 10) == b""
    os.closerange(3, 200)
    with open(os.devnull) as three:
        assert three.fileno() == 3
    return items


@batch_handler
def crash(items: list[int]) -> list[int]:
    ctypes.string_at(0)
    return items


@batch_handler
def crashes_in_child(items: list[int]) -> list[int]:
    child = os.fork()
    if child == 0:
        ctypes.string_at(0)
    os.waitpid(child, 0)
    return items


@batch_handler
def warns(items: list[str]) -> list[str]:
    warnings.warn("careful", UserWarning, stacklevel=1)
    try:
        raise KeyError("k")
    except KeyError:
        logging.getLogger("mine").exception("broken \udcff")
    return items


@batch_handler
def raises(items: list[str]) -> list[str]:
    try:
        raise ValueError("inner")
    except ValueError as error:
        raise RuntimeError(f"no {items[0]} \ud800") from error


@batch_handler
def exhausts(items: list[int]) -> list[int]:
    """Hold all memory that this process may have, and fail."""
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + items[0], resource.RLIM_INFINITY))
    held, block = [], items[0]
    while block:
        try:
            held.append(bytearray(block))
        except MemoryError:
            block //= 2
    raise MemoryError(f"{len(held)} blocks are all")


@batch_handler
def exits(items: list[str]) -> list[str]:
    if items == ["interrupt"]:
        raise KeyboardInterrupt
    sys.exit(3)


@batch_handler
def fewer(items: list[int]) -> list[int]:
    return items[1:]


@batch_handler
def wrong_kind(items: list[str]) -> Payload:
    async def later() -> None:
        return None

    made: dict[str, Payload] = {"none": None, "str": "abc", "dict": {}, "tuple": (1,)}

    async def twice() -> Payload:
        return later()

    if items[0] == "coroutine":
        return twice()
    if items[0] == "map":
        return map(str, items)
    return made[items[0]]


@batch_handler
def mixed(items: list[str]) -> list[Payload]:
    made = {
        "set": {"tags": [1, 2, 3, range(4)]},
        "time": datetime.time(1, tzinfo=datetime.timezone.utc),
        "failure": Failure("not this one"),
        "facts": Failure({"code": 7}),
        "bad facts": Failure(object),
        "nested": [Failure("inside")],
        "surrogate": "\udc00",
        "nan": {float("nan"): 1, float("nan") * 1: 2},
        "fine": "fine",
    }
    return [made[item] for item in items]


@batch_handler
def large(items: list[int]) -> list[bytes]:
    return [bytes(item) for item in items]


@batch_handler
def where(items: list[int]) -> list[Payload]:
    here = context()
    facts = [here.run, here.pipe, here.stage, here.session, here.batch, here.attempt]
    return [facts for _ in items]


@batch_handler
def count(items: list[int]) -> list[int]:
    state = session()
    answers = []
    for item in items:
        state["sum"] = state.get("sum", 0) + item
        answers.append(state["sum"])
    return answers


@batch_handler
def look_up(items: list[Payload]) -> list[Payload]:
    return [views.feature(key=item) for item in items]


@batch_handler
def look_up_all(items: list[Payload]) -> list[Payload]:
    return views.map("feature", items, timeout=0.05)


@batch_handler
def try_view(items: list[Payload]) -> list[Payload]:
    answers = []
    for item in items:
        try:
            answers.append(views.call("v", item))
        except SlitherError as error:
            answers.append([type(error).__name__, str(error)])
    return answers


@batch_handler
def bad_params(items: list[Payload]) -> list[Payload]:
    try:
        views.call("v", {"tags": range(1)})
    except SlitherError as error:
        return [[type(error).__name__, str(error)] for _ in items]
    return items


@batch_handler
def from_threads(items: list[int]) -> list[Payload]:
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(lambda item: views.call("v", item), items))


_kept: dict[str, ThreadPoolExecutor] = {}
_gate = threading.Event()


@batch_handler
def ask_from_kept_executor(items: list[int]) -> list[Payload]:
    pool = _kept.setdefault("pool", ThreadPoolExecutor(1))
    return [pool.submit(views.call, "v", item).result() for item in items]


@batch_handler
def leave_waiting_thread(items: list[str]) -> list[str]:
    """A thread that asks in a later call, and says what it may know of that."""

    def ask(item: str) -> None:
        _gate.wait()
        try:
            session()
        except SlitherError as error:
            views.call("late", [item, str(error)])

    for item in items:
        threading.Thread(target=ask, args=(item,), daemon=True).start()
    return items


@batch_handler
def let_thread_go(items: list[str]) -> list[Payload]:
    _gate.set()
    return [views.call("v", item) for item in items]


@batch_handler
def leave_thread(items: list[int]) -> list[int]:
    """A thread that outlives its call asks a view while the main thread reads."""

    def ask() -> None:
        gate.wait()
        answer = views.call("late", 1)
        logging.getLogger("late").info("%s", answer)

    gate = threading.Event()
    threading.Thread(target=ask, daemon=True).start()
    gate.set()
    return items


@batch_handler
def until_cancelled(items: list[int]) -> list[bool]:
    progress(0, len(items))
    while not cancelled():
        pass
    return [True for _ in items]


@batch_handler
def spin(items: list[int]) -> list[int]:
    progress(0)
    while True:
        pass


@batch_handler
def forks(items: list[int]) -> list[int]:
    child = os.fork()
    if child == 0:
        return items
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for _ in items]


@batch_handler
def descriptors(items: list[int]) -> list[Payload]:
    inheritable = [os.get_inheritable(fd) for fd in (3, 4)]
    return [[os.read(0, 1), inheritable, os.getpgrp()] for _ in items]


class Tools:
    @staticmethod
    def double(items: list[int]) -> list[int]:
        return [2 * item for item in items]


constant = 5


@batch_handler
def table_get(keys: list[Payload]) -> list[Payload]:
    return [store.table("features")[key] for key in keys]


@batch_handler
def table_items(counts: list[int]) -> list[Payload]:
    return [list(islice(store.table("features").items(), count)) for count in counts]


@batch_handler
def table_values(_items: list[None]) -> list[Payload]:
    return [[value for value in store.table("features").values()]]


@batch_handler
def table_setdefault(keys: list[Payload]) -> list[Payload]:
    return [store.table("features").setdefault(key, "mine") for key in keys]


@batch_handler
def table_set_key(values: list[Payload]) -> list[Payload]:
    return [store.table("features").get(range(value)) for value in values]


def is_loaded(names: list[str]) -> list[bool]:
    return [name in sys.modules for name in names]
