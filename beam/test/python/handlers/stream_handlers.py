"""Handlers that yield, for the tests of streams."""

import os
from contextlib import suppress

from slither import store, views
from slither.worker import Failure, context


def passed(path):
    """Waits until the test writes to a FIFO."""
    with open(path) as fifo:
        return fifo.read()


def numbers(values):
    yield from values


async def async_numbers(values):
    for value in values:
        yield value


def gated(paths):
    """A path is a FIFO that its result waits for; anything else is a result."""
    for path in paths:
        if isinstance(path, str) and path.startswith("/"):
            passed(path)
        yield path


def counted(rows):
    """Marks in a file, by its size, how many results it has begun; tells another of its end."""
    made = os.open(rows[0]["made"], os.O_WRONLY | os.O_APPEND)
    try:
        for row in rows:
            os.write(made, b".")
            yield row["n"]
    finally:
        os.close(made)
        if rows[0].get("closed"):
            with open(rows[0]["closed"], "w") as file:
                file.write(str(os.getpid()))


def pids(values):
    return [os.getpid() for _ in values]


def dies_after(values):
    """Dies once BEAM has taken what was yielded before."""
    for value in values:
        if value == "die":
            os._exit(7)
        if isinstance(value, str) and value.startswith("/"):
            passed(value)
        yield value


def raises_first_time(values):
    """Its first batch fails at the first attempt."""
    here = context()
    if here.batch == 0 and here.attempt == 1:
        raise RuntimeError("not yet")
    yield from values


def tables(keys):
    rows = store.table("stream_rows")
    for key in keys:
        yield [views.stream_test_view(key=key), rows[key]]


def scripted(rows):
    """Does with each row what it says; notes in a file which it has yielded."""
    with open(rows[0]["log"], "a") as log:
        for row in rows:
            act = row["act"]
            if act == "raise" or (act == "raise twice" and context().attempt < 3):
                raise ValueError(f"row {row['n']}")
            if act == "die":
                os._exit(7)
            if act == "stop":
                return
            log.write(f"{row['n']}\n")
            log.flush()
            if act == "fail":
                yield Failure("as told")
            elif act == "fail twice":
                yield Failure("not yet") if context().attempt < 3 else row["n"]
            elif act == "object":
                yield object()
            else:
                yield row["n"]
        if any(row["act"] == "over" for row in rows):
            yield "one more"


async def async_scripted(rows):
    with suppress(StopIteration):
        for result in scripted(rows):
            yield result
