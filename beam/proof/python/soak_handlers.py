"""What the long run at full load calls: tables, views, sessions, logs, failures, deaths."""

from __future__ import annotations

import logging
import os
import time

from slither import store, views
from slither.worker import Failure, progress, session, session_dump, session_load

FEATURES = store.table("soak_features")
VISITS = store.table("soak_visits")
LOG = logging.getLogger("soak")


def score(items):
    """Score each item by a table and a view; one in 97 fails, and each call says so."""
    keys = [item["key"] for item in items]
    known = FEATURES.get_many(keys)
    prices = views.map("soak_price", [{"key": key} for key in keys])
    VISITS.update_counter(keys[0])
    VISITS[f"at {items[0]['id'] % 10_000}"] = keys
    LOG.info("scored %d items", len(items))
    print("first", items[0]["id"])
    progress(len(items), len(items))
    return [
        Failure("odd")
        if item["id"] % 97 == 0
        else {**item, "score": known[key]["weight"] * price}
        for item, key, price in zip(items, keys, prices, strict=True)
    ]


def picky(numbers):
    if any(number % 211 == 7 for number in numbers):
        raise ValueError(f"among {len(numbers)} numbers is one that I can't bear")
    return [number * 2 for number in numbers]


def add_up(numbers):
    state = session()
    state.setdefault("blob", bytearray(100_000))
    results = []
    for number in numbers:
        state["sum"] = state.get("sum", 0) + number
        results.append(state["sum"])
    return results


@session_dump
def dump(state):
    return {**state, "blob": bytes(state["blob"])}


@session_load
def load(value):
    return {**value, "blob": bytearray(value["blob"])}


def echo(blobs):
    return blobs


def leave(items):
    os._exit(3)


def hang(items):
    time.sleep(3_600)
    return items
