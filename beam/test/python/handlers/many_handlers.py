"""Handlers that make many values of each item, as the tests of dispatches and pipes ask for."""

import os
import signal
import time
from pathlib import Path

from slither.worker import batch_handler, item_handler


def split(texts):
    """Words of each text, as lists."""
    return [text.split() for text in texts]


def scripted(rows):
    """For each row its values, or what the row says in their place."""
    return [values(row) for row in rows]


@item_handler
def one_scripted(row):
    """As `scripted`, of one row."""
    return values(row)


async def async_scripted(rows):
    """As `scripted`, with asynchronous iterators."""
    return [drawn(row) for row in rows]


async def drawn(row):
    for value in values(row):
        yield value


def values(row):
    fail = row.get("fail")
    note(row, "begin")
    for at in range(row["count"]):
        if at == fail:
            stop(row)
        yield [row["n"], at]
    if fail is not None and fail >= row["count"]:
        stop(row)


def note(row, what):
    if "log" in row:
        with Path(row["log"]).open("a") as log:
            log.write(f"{what} {row['n']}\n")


def stop(row):
    how = row.get("how", "raise")
    # Only the first attempt fails.
    if row.get("once"):
        mark = Path(f"{row['once']}-{row['n']}")
        if mark.exists():
            return
        mark.write_text("")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "sleep":
        time.sleep(60)
    raise ValueError(f"{row['n']} fails")


def counting(rows):
    """For each row integers; its file says how many were made, and whether that was closed."""
    return [counted(row) for row in rows]


def counted(row):
    path = Path(row["path"])
    made = 0
    try:
        for value in range(row.get("count", 1_000_000)):
            made = value + 1
            if made % 100 == 0:
                tell(path, str(made))
            yield value
    finally:
        tell(path, f"{made} closed")


def tell(path, text):
    """Write a file so that who reads it sees all of the text, or none."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)


def wrong(rows):
    """What no item can have many of."""
    return [row for row in rows]


@batch_handler("double_many")
def double(rows):
    return [[row, row] for row in rows]


def plus(rows):
    return [row + 1 for row in rows]


def same(rows):
    return rows


def broken(rows):
    return [values(row) for row in rows if row["n"] or {}["none"]]
