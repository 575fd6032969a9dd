"""Handlers that use tables as mappings."""

from slither import TableError, store

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
