"""What the tests have workers run for a driver."""

from __future__ import annotations

import enum
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import tagged

import slither
from slither import store
from slither._types import Payload
from slither.worker import Failure, batch_handler, cancelled, context, item_handler, progress

started: list[str] = []


class OurError(Exception):
    """Takes two arguments, as exceptions of programs do."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code = code


class OddError(Exception):
    """Can't be made anew of its arguments."""

    def __init__(self) -> None:
        super().__init__("odd", "arguments")


class Price:
    """Comes back as what it was, as all who import this module have registered it."""

    def __init__(self, cents: int) -> None:
        if cents == 13:
            raise ValueError("unlucky")
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Price) and self.cents == other.cents

    def __hash__(self) -> int:
        return hash(self.cents)


slither.register(Price, lambda price: price.cents, Price, name="driven.Price")


class Kind(enum.Enum):
    BOOK = 1


class Cart:
    """Is made of what may go by value."""

    def __init__(self, kinds: list[Kind]) -> None:
        assert all(type(kind) is Kind for kind in kinds), kinds
        self.kinds = kinds


slither.register(Cart, lambda cart: cart.kinds, Cart, name="driven.Cart")


def kinds(cart: Cart) -> Payload:
    return [cart, cart.kinds]


def dearer(price: Price) -> Price:
    return Price(price.cents + 1)


def spoilt(price: Price) -> Price:
    """Give one that can be sent, and not be made again."""
    price.cents += 2 * (price.cents == 11)
    return price


def dearest(prices: list[Price]) -> list[Payload]:
    return [[max(prices, key=lambda price: price.cents)] for _ in prices]


def double(item: int) -> int:
    return 2 * item


def three(a: Payload, b: Payload, c: Payload) -> list[Payload]:
    return [a, b, c]


def echo(item: Payload) -> Payload:
    return item


def shown(item: Payload) -> str:
    return repr(tagged.show(item))


def pid(_item: Payload) -> int:
    return os.getpid()


def no_fives(item: int) -> int:
    if item % 10 == 5:
        raise ValueError("a five", item)
    return item


def ours(item: int) -> int:
    raise OurError(item, "for no reason")


def of_one_row(row: Payload) -> Payload:
    return row["a"]


def odd(_item: int) -> int:
    raise OddError


def exhaust(_item: int) -> NoReturn:
    next(iter(()))
    raise AssertionError


def refuse(item: int) -> Payload:
    return Failure({"refused": item})


def a_range(item: int) -> Payload:
    return {"tags": range(item)} if item == 1 else item


def die(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def exit_now(_item: int) -> NoReturn:
    sys.exit("no more")


def hang(item: float) -> float:
    time.sleep(item)
    return item


def times_out(_item: int) -> NoReturn:
    raise TimeoutError("of its own")


def once_failed(path: str) -> str:
    """Fails the first time, and leaves a file by which it knows the second."""
    if os.path.exists(path):
        return "mended"
    open(path, "w").close()
    raise OSError(11, "try again")


def wait_for(paths: list[str]) -> str:
    """Makes the first file, and returns once the second is there."""
    open(paths[0], "w").close()
    while not os.path.exists(paths[1]):
        time.sleep(0.001)
    return paths[0]


@batch_handler
def total(items: list[int]) -> list[int]:
    return [sum(items)] * len(items)


@batch_handler
def together(items: list[Payload]) -> list[list[Payload]]:
    return [items] * len(items)


@batch_handler
def gated(items: list[list[str]]) -> list[list[str]]:
    """Makes the first file of the first item, waits for the second; gives all last words."""
    first = items[0]
    open(first[0], "w").close()
    while not os.path.exists(first[1]) and not cancelled():
        time.sleep(0.001)
    return [[item[-1] for item in items]] * len(items)


@batch_handler
def none_is_seven(items: list[int]) -> list[int]:
    if 7 in items:
        raise ValueError("seven")
    return items


@batch_handler
def short(items: list[int]) -> list[int]:
    return items[:-1]


def keywords(*args: Payload, **kwargs: Payload) -> Payload:
    return [list(args), kwargs]


def trace(_item: Payload) -> str | None:
    return context().trace


def say(item: str) -> None:
    print("out", item)
    print("err", item, file=sys.stderr)
    logging.getLogger("driven").warning("log %s", item)


def report(item: str) -> list[Payload]:
    """Logs an exception in a thread with a name; returns the place and the process."""
    logger = logging.getLogger("driven.report")
    line = 0

    def run() -> None:
        nonlocal line
        try:
            raise ValueError(item)
        except ValueError:
            extra = {"order": 17, "tags": ["a", None], "lock": threading.Lock()}
            line = sys._getframe().f_lineno + 1
            logger.exception("could not %s", item, stack_info=True, extra=extra)

    thread = threading.Thread(target=run, name="reporter")
    thread.start()
    thread.join()
    return [__file__, line, os.getpid()]


def note(item: str) -> None:
    started.append(item)


def noted(_item: Payload) -> list[str]:
    return started


def count_in_table(item: str) -> int:
    return store.table("counts").update_counter(item)


def running(item: Payload) -> Payload:
    progress(1)
    return item


class Box:
    """Callables that have no name of their own."""

    def method(self, item: int) -> int:
        return item

    def __call__(self, item: int) -> int:
        return item

    @staticmethod
    def plain(item: int) -> int:
        return -item


def closure() -> Callable[[int], int]:
    def inner(item: int) -> int:
        return item

    return inner


def shadowed(item: int) -> int:
    return item


first_shadowed = shadowed


def shadowed(item: int) -> int:  # type: ignore[no-redef]
    return -item


def modules(_item: Payload) -> list[str]:
    return list(sys.modules)


def predict(rows: list[dict[str, Payload]]) -> list[dict[str, Payload]]:
    return [{**row, "score": row["n"] % 10 / 10} for row in rows]


def echoes(items: list[Payload]) -> list[Payload]:
    return items


def twice(item: int) -> list[int]:
    return [item, item]


def fan(items: list[int]) -> list[list[int]]:
    return [list(range(count)) for count in items]


one_no_fives = item_handler("driven_no_fives")(no_fives)
one_once_failed = item_handler("driven_once_failed")(once_failed)


def no_sixes(items: list[int]) -> list[int]:
    if 6 in items:
        raise ValueError("a six")
    return items


def mark(keys: list[str]) -> list[str]:
    for key in keys:
        store.table("seen_by_pipe").update_counter(key)
    return keys


def until_told(rows: list[list[Payload]]) -> list[list[Payload]]:
    mended = os.path.exists(rows[0][1])
    if not mended and rows[0][0] >= 10:
        raise RuntimeError("not yet")
    return [[n, "second" if mended else "first"] for n, _ in rows]


class LimitError(Exception):
    """A time limit that a handler sets itself."""


def _too_long(*_of: Payload) -> NoReturn:
    raise LimitError


def limit_itself(seed: int) -> int:
    """Asks a table under limits so short that they end it anywhere; returns how often."""
    signal.signal(signal.SIGALRM, _too_long)
    shared, hits = store.table("limits"), 0
    for round_ in range(100):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0003 + 0.00007 * ((seed + 7 * round_) % 50))
            for _ in range(500):
                shared.get("long")
        except LimitError:
            hits += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if shared["short"] != "B":
            raise AssertionError(shared["short"])
    return hits


def limit_too_late(seconds: float) -> str:
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return "done"


def own_signal_handler() -> list[bool]:
    got: list[int] = []

    def note(number: int, _frame: object) -> None:
        got.append(number)

    signal.signal(signal.SIGUSR1, note)
    os.kill(os.getpid(), signal.SIGUSR1)
    return [signal.getsignal(signal.SIGUSR1) is note, got == [signal.SIGUSR1]]


def slow_pid(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@item_handler
def hangs_at_three(item: int) -> int:
    time.sleep(600 if item == 3 else 0)
    return item


@batch_handler
def sizes(items: list[int]) -> list[int]:
    """How many items came together, for each."""
    return [len(items)] * len(items)


@batch_handler
def slow_sizes(items: list[int]) -> list[int]:
    """As sizes, at 10 ms for each item."""
    time.sleep(0.01 * len(items))
    return sizes(items)


def environment() -> bytes:
    """What others can see of this process."""
    return b"".join(Path(f"/proc/self/{name}").read_bytes() for name in ("environ", "cmdline"))
