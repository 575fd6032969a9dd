"""The types of the fields of frames: for each a type of Python's, a check, and its name in words.

Pure; :mod:`slither._wire.frames` annotates its records with them, and checks what comes by them.
"""

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple, TypeAlias

from slither._types import Payload

MAX_EXCEPTIONS = 256
"""Exceptions that an error tells of: the one that was raised, its causes, contexts, and parts."""
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""The levels of log frames, with their numbers in :mod:`logging`."""

TEXTS = ("levelname", "pathname", "funcName", "processName", "threadName", "taskName")
COUNTS = ("levelno", "lineno", "process", "thread")
LONG_TEXTS = ("exc_text", "stack_info")
METRICS = frozenset({"counter", "gauge", "histogram", "refused"})
"""The kinds of rows in a frame of metrics."""
RECORD_NAMES = (*TEXTS, *COUNTS, *LONG_TEXTS, "created")
"""The attributes of a log record that a frame tells of, the program's own aside."""

_OPERATIONS = frozenset({"end", "dump", "load"})
_NAMES = (str, type(None))
_FLAGS = (bool, type(None))
# What a batch may be given as: the list of its items, or one frame of a package.
_FRAMES = (None, "pandas", "polars", "arrow")

Check: TypeAlias = Callable[[object], bool]


class Rule(NamedTuple):
    """What a field may hold: in words, for who reads why a frame was refused, and as a check."""

    words: str
    check: Check


# Kinds of targets, and how many strings each has.
_TARGETS = {
    **dict.fromkeys(("function", "item", "each", "apply", "help"), 3),
    **dict.fromkeys(("command", "pipes", "more", "drop"), 2),
    "fork": 1,
}


def of(words: str, *kinds: type) -> Rule:
    """Accept what has one of these types itself."""
    return Rule(words, lambda value: type(value) in kinds)


def either(rule: Rule, words: str) -> Rule:
    """Accept what a rule does, and None."""
    return Rule(words, lambda value: value is None or rule.check(value))


def _is_any(_value: object) -> bool:
    return True


def is_count(value: object) -> bool:
    """Tell whether a value is a whole number of 0 or more."""
    return type(value) is int and value >= 0


def _is_str(value: object) -> bool:
    return type(value) is str


def is_error(value: object) -> bool:
    """Tell whether a value is an error map."""
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
        "args": lambda value: type(value) is list,
        "attributes": lambda value: _is_map_of(value, _is_any),
        "notes": are_strs,
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
        and are_strs(told.get("bases"))
        and all(check(told[name]) for name, check in checks.items() if name in told)
    )


def are_strs(value: object) -> bool:
    """Tell whether a value is a list of texts."""
    return type(value) is list and all(map(_is_str, value))


def _is_map_of(value: object, check: Check) -> bool:
    return type(value) is dict and all(_is_str(k) and check(v) for k, v in value.items())


def _is_errors(value: object) -> bool:
    if value is None:
        return True
    return type(value) is dict and all(is_count(k) and is_error(v) for k, v in value.items())


def is_target(value: object) -> bool:
    """Tell whether a value names what a call runs."""
    if type(value) is not list or not value or not all(map(_is_str, value)):
        return False
    if value[0] == "session":
        return len(value) == 2 and value[1] in _OPERATIONS
    return _TARGETS.get(value[0]) == len(value)


def is_context(value: object) -> bool:
    """Tell whether a value is a call's context."""
    if type(value) is not dict:
        return False
    get = value.get
    return (
        type(get("run")) in _NAMES
        and type(get("pipe")) in _NAMES
        and type(get("stage")) in _NAMES
        and type(get("session")) in _NAMES
        and type(get("trace")) in _NAMES
        # What is left of many values belongs to a run or to a session, and goes with it.
        and type(many := get("many")) in _FLAGS
        and not (many and get("run") is None and get("session") is None)
        and _is_limit(get("item_timeout"))
        and get("as") in _FRAMES
    )


def _is_limit(value: object) -> bool:
    return value is None or (type(value) is int and value >= 1)


def _is_facts(value: object) -> bool:
    if value is None:
        return True
    return type(value) is dict and all(
        _is_str(name) and _FACTS.get(name, _is_any)(fact) for name, fact in value.items()
    )


def _is_metrics(value: object) -> bool:
    return type(value) is list and all(map(_is_row, value))


def _is_row(row: object) -> bool:
    if type(row) is not list or len(row) != 6:
        return False
    kind, name, text, labels, bounds, series = row
    return (
        _is_str(kind)
        and kind in METRICS
        and (_is_str(name) and _is_str(text) and are_strs(labels))
        and (type(bounds) is list and all(map(_is_finite, bounds)))
        and type(series) is list
        and all(_is_series(kind, one, len(labels), len(bounds)) for one in series)
    )


def _is_series(kind: object, series: object, labels: int, bounds: int) -> bool:
    if type(series) is not list or len(series) != 2:
        return False
    values, value = series
    if not are_strs(values) or len(values) != labels:
        return False
    if kind == "gauge":
        return type(value) in (int, float)
    if kind != "histogram":
        return _is_finite(value) and value >= 0
    if type(value) is not list or len(value) != 2:
        return False
    counts, total = value
    fits = type(counts) is list and len(counts) == bounds + 1
    return fits and all(map(is_count, counts)) and _is_finite(total)


def _is_finite(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_modules(value: object) -> bool:
    return type(value) is list and all(map(_is_module, value))


def _is_module(told: object) -> bool:
    if type(told) is not list or len(told) != 4:
        return False
    name, path, size, checksum = told
    return _is_str(name) and type(path) is bytes and is_count(size) and is_count(checksum)


def _is_timing(value: object) -> bool:
    return type(value) is list and len(value) == 3 and all(map(is_count, value))


# Facts of a log record that this version doesn't know are another version's, and pass.
_FACTS: dict[str, Check] = {
    **dict.fromkeys((*TEXTS, *LONG_TEXTS), _is_str),
    **dict.fromkeys(COUNTS, is_count),
    "created": lambda value: type(value) is float and math.isfinite(value),
    "extra": lambda value: _is_map_of(value, _is_any),
    "beam": lambda value: _is_map_of(value, _is_any),
}

_COUNT, _STR, _ERROR = (
    Rule("int of 0 or more", is_count),
    Rule("str", _is_str),
    Rule("error", is_error),
)
_Map: TypeAlias = dict[str, Payload]

Anything = Annotated[Payload, Rule("any", _is_any)]
Bytes = Annotated[bytes, of("bytes", bytes)]
Context = Annotated[_Map, Rule("map of context names", is_context)]
Count = Annotated[int, _COUNT]
Error = Annotated[_Map, _ERROR]
Errors = Annotated[dict[int, _Map] | None, Rule("map of errors, or nil", _is_errors)]
Facts = Annotated[_Map | None, Rule("map of facts, or nil", _is_facts)]
Flag = Annotated[int, Rule("0 or 1", lambda value: type(value) is int and value in (0, 1))]
Id = Annotated[int, Rule("int of 1 or more", lambda value: type(value) is int and value >= 1)]
Level = Annotated[str, Rule("level", lambda value: type(value) is str and value in LEVELS)]
List = Annotated[list[Payload], of("list", list)]
Map = Annotated[_Map, of("map", dict)]
MaybeCount = Annotated[int | None, either(_COUNT, "int of 0 or more, or nil")]
MaybeError = Annotated[_Map | None, either(_ERROR, "error, or nil")]
Metrics = Annotated[list[list[Payload]], Rule("list of metrics", _is_metrics)]
Modules = Annotated[list[list[Payload]], Rule("list of modules", _is_modules)]
MaybeStr = Annotated[str | None, either(_STR, "str, or nil")]
Str = Annotated[str, _STR]
Target = Annotated[list[str], Rule("target", is_target)]
Timing = Annotated[list[int], Rule("list of three ints", _is_timing)]
