"""What the fields of frames may hold."""

from __future__ import annotations

import math
from collections.abc import Callable

MAX_EXCEPTIONS = 256
"""Exceptions that an error tells of: the one that was raised, its causes, contexts, and parts."""
LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})

_OPERATIONS = frozenset({"end", "dump", "load"})
_NAMES = (str, type(None))

Check = Callable[[object], bool]

# Kinds of targets, and how many strings each has.
_TARGETS = {"function": 3, "command": 2, "each": 3, "apply": 3, "pipes": 2}


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_id(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_map(value: object) -> bool:
    return type(value) is dict


def _is_list(value: object) -> bool:
    return type(value) is list


def _is_str(value: object) -> bool:
    return type(value) is str


def _is_any(value: object) -> bool:
    return True


def _is_flag(value: object) -> bool:
    return type(value) is int and value in (0, 1)


def _is_count_or_none(value: object) -> bool:
    return value is None or _is_count(value)


def _is_level(value: object) -> bool:
    return type(value) is str and value in LEVELS


def _is_error(value: object) -> bool:
    return (
        type(value) is dict
        and (_is_str(value.get("kind")) and _is_str(value.get("message")))
        and ("raised" not in value or _is_raised(value["raised"]))
    )


def _is_raised(value: object) -> bool:
    if type(value) is not list or not 0 < len(value) <= MAX_EXCEPTIONS:
        return False
    return all(_is_exception(told, len(value)) for told in value)


def _is_exception(told: object, count: int) -> bool:
    def is_place(value: object) -> bool:
        return type(value) is int and 0 <= value < count

    checks: dict[str, Check] = {
        "args": _is_list,
        "attributes": lambda value: _is_map_of(value, _is_any),
        "notes": _are_strs,
        "tuples": _are_strs,
        "left_out": lambda value: _is_map_of(value, _is_str),
        "held": lambda value: _is_map_of(value, is_place),
        "cause": is_place,
        "context": is_place,
        "suppress_context": lambda value: type(value) is bool,
        "exceptions": lambda value: type(value) is list and all(map(is_place, value)),
    }
    return (
        type(told) is dict
        and all(_is_str(told.get(name)) for name in ("type", "module", "message"))
        and _are_strs(told.get("bases"))
        and all(check(told[name]) for name, check in checks.items() if name in told)
    )


def _are_strs(value: object) -> bool:
    return type(value) is list and all(map(_is_str, value))


def _is_map_of(value: object, check: Check) -> bool:
    return type(value) is dict and all(_is_str(k) and check(v) for k, v in value.items())


def _is_errors(value: object) -> bool:
    if value is None:
        return True
    return type(value) is dict and all(_is_count(k) and _is_error(v) for k, v in value.items())


def _is_target(value: object) -> bool:
    if type(value) is not list or not value or not all(map(_is_str, value)):
        return False
    if value[0] == "session":
        return len(value) == 2 and value[1] in _OPERATIONS
    return _TARGETS.get(value[0]) == len(value)


def _is_context(value: object) -> bool:
    if type(value) is not dict:
        return False
    get = value.get
    return (
        type(get("run")) in _NAMES
        and type(get("pipe")) in _NAMES
        and type(get("stage")) in _NAMES
        and type(get("session")) in _NAMES
        and type(get("trace")) in _NAMES
    )


def _is_facts(value: object) -> bool:
    if value is None:
        return True
    return type(value) is dict and all(
        _is_str(name) and _FACTS.get(name, _is_any)(fact) for name, fact in value.items()
    )


def _is_timing(value: object) -> bool:
    return type(value) is list and len(value) == 3 and all(map(_is_count, value))


# Of a log record; what else is told of one is for other versions to know.
_FACTS: dict[str, Check] = {
    **dict.fromkeys(("levelname", "pathname", "funcName", "exc_text", "stack_info"), _is_str),
    **dict.fromkeys(("processName", "threadName", "taskName"), _is_str),
    **dict.fromkeys(("levelno", "lineno", "process", "thread"), _is_count),
    "created": lambda value: type(value) is float and math.isfinite(value),
    "extra": lambda value: _is_map_of(value, _is_any),
}

MAP, ANYTHING, STR, LIST = (
    ("map", _is_map),
    ("any", _is_any),
    ("str", _is_str),
    ("list", _is_list),
)
COUNT, ID = ("int of 0 or more", _is_count), ("int of 1 or more", _is_id)
MAYBE = ("int of 0 or more, or nil", _is_count_or_none)
FLAG, LEVEL = ("0 or 1", _is_flag), ("level", _is_level)
ERROR, ERRORS = ("error", _is_error), ("map of errors, or nil", _is_errors)
TARGET, CONTEXT = ("target", _is_target), ("map of context names", _is_context)
TIMING = ("list of three ints", _is_timing)
FACTS = ("map of facts, or nil", _is_facts)
