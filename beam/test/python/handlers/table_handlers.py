"""Handlers that use tables as mappings."""

import math
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

from slither import EncodeError, SlitherError, TableError, Tagged, UnknownTable, store

BERLIN = ZoneInfo("Europe/Berlin")

shared = store.table("tables_test_shared")
mapping = store.table("tables_test_mapping")
fixed = store.table("tables_test_fixed")


def use_everything(_):
    assert "a" not in mapping
    mapping["a"] = {"n": 1}
    assert mapping["a"] == {"n": 1}
    assert "a" in mapping
    assert mapping.get("nobody") is None
    assert mapping.get("nobody", 7) == 7
    mapping.put_many({"b": 2, ("t", 1): None})
    assert mapping.get_many(["a", "b", "c", ("t", 1)]) == {"a": {"n": 1}, "b": 2, ("t", 1): None}
    assert len(mapping) == 3
    assert set(mapping) == {"a", "b", ("t", 1)}
    assert dict(mapping.items()) == {"a": {"n": 1}, "b": 2, ("t", 1): None}
    assert mapping.put_new("b", 3) is False
    assert mapping.setdefault("d", 4) == 4
    assert mapping.setdefault("d", 5) == 4
    assert mapping.update_counter("d") == 5
    assert mapping.update_counter("e", 10, default=5) == 15
    assert mapping.pop("d") == 5
    assert mapping.pop("d", None) is None
    assert mapping.pop(("t", 1)) is None
    del mapping["e"]
    try:
        del mapping["e"]
    except KeyError as error:
        missing = error.args[0]
    mapping.update({"x": 1})
    return [{"missing": missing, "left": sorted(mapping)}]


def read_fixed(keys):
    return [fixed[key] for key in keys]


def count_fixed(_):
    return [[sum(fixed.values()), len(fixed), sum(1 for _ in fixed)]]


def walk_a_little(_):
    walk = iter(fixed)
    next(walk)
    walk.close()
    return [None]


def count_up(names):
    return [shared.update_counter(name) for name in names]


def refused(attempts):
    answers = []
    for table, op in attempts:
        try:
            chosen = store.table(table)
            if op == "put":
                chosen["k"] = 1
            elif op == "counter":
                chosen.update_counter("a-text")
            else:
                chosen["k"]
        except TableError as error:
            answers.append([type(error).__name__, error.table, str(error)])
    return answers


def use_odd_keys(_):
    """Every kind of key comes back as it went."""
    keys = ["a", "", "\u00e9\n", b"", b"\x00\xff", 0, -1, 2**70, 1.5, math.inf, None, True]
    keys += [(), (1, "x"), ((1,), (None, b"b"))]
    day = datetime(2024, 1, 2, 3, 4, 5, 6)
    keys += [day, day.date(), day.time(), day - datetime(1970, 1, 1), day.replace(tzinfo=BERLIN)]
    keys += [Decimal("1.10"), 1 + 2j, UUID(int=5), Path("a/b"), frozenset({1, (2,)})]
    keys += [(day.date(), Decimal("1.10")), Tagged("t", 1), math.nan]
    table = store.table("tables_test_odd")
    for number, key in enumerate(keys):
        table[key] = number
    assert len(table) == len(keys)
    assert [table[key] for key in keys] == list(range(len(keys)))
    assert all(key in table for key in keys)
    many = table.get_many(keys[:-1])
    assert sorted(many.values()) == list(range(len(keys) - 1))
    walked = list(table)
    assert sorted(map(repr, walked)) == sorted(map(repr, keys))
    assert [type(key) for key in walked if key == 2**70] == [int]
    for key in walked:
        del table[key]
    assert len(table) == 0
    return [None]


def put_each(pairs):
    table = store.table("tables_test_odd")
    for key, value in pairs:
        # A set can be no part of a key.
        parts = [frozenset(part) if isinstance(part, set) else part for part in key]
        table[tuple(parts)] = value
    return [None for _ in pairs]


def try_each(keys):
    """What reading each key comes to."""
    answers = []
    for key in keys:
        try:
            answers.append({"value": store.table("tables_test_odd")[key]})
        except (KeyError, SlitherError) as error:
            answers.append({"error": type(error).__name__, "message": str(error)})
    return answers


def write_each(values):
    answers = []
    for value in values:
        made = {"set": range(1), "big": "x" * 200_000, "deep": None, "cycle": []}[value]
        if value == "deep":
            for _ in range(2_000):
                made = [made]
        if value == "cycle":
            made.append(made)
        try:
            store.table("tables_test_odd")["k"] = made
            answers.append(None)
        except (TableError, EncodeError) as error:
            answers.append([type(error).__name__, str(error)[:200]])
    return answers


def walk_and_write(counts):
    """Changes the table it walks over."""
    table = store.table("tables_test_odd")
    answers = []
    for count in counts:
        table.put_many({number: number for number in range(count)})
        seen = []
        for key, value in table.items():
            assert key == value
            seen.append(key)
            # A walk that changed what it had added itself might never end.
            if key < count and key % 40 == 0:
                del table[key]
                table[key + count] = key + count
        old = [key for key in seen if key < count]
        answers.append([len(old), len(set(old)), len(table)])
    return answers


def walk_over_a_reload(requests):
    """Walks on while the store is told to reload, by a pipe, and says so by another."""
    answers = []
    for request in requests:
        walk = store.table("tables_test_loaded").items()
        pairs = iter(walk)
        first = list(islice(pairs, 700))
        with open(request["ask"], "w") as ask:
            ask.write("reload")
        with open(request["done"], "rb") as done:
            done.read()
        generations = {value for _, value in first} | {value for _, value in pairs}
        new = {value for _, value in walk}
        answers.append([sorted(generations), sorted(new)])
    return answers


def forget_walk(_):
    """Leaves a walk half done, in a name that lives on."""
    kept.append(iter(store.table("tables_test_fixed")))
    next(kept[-1])
    return [None]


kept = []


def ask_raw(requests):
    """Operations that no method makes."""
    answers = []
    for op, arguments in requests:
        try:
            answers.append({"value": store.table("tables_test_odd")._ask(op, *arguments)})
        except TableError as error:
            answers.append({"error": str(error)})
    return answers


def is_unknown(names):
    answers = []
    for name in names:
        try:
            len(store.table(name))
            answers.append(False)
        except UnknownTable:
            answers.append(True)
        except TableError:
            # Its store is about to be gone.
            answers.append(False)
    return answers
