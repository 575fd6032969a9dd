"""Why a value can't be sent, and what to send instead.

Pure; the codec asks for what no row of the table of types takes.
"""

from __future__ import annotations

from slither._wire.types.row import named

# What to send instead, and the names of the types for which that is the advice.
_INSTEAD = {
    "make it a list": (
        "generator range map filter zip enumerate reversed islice chain dict_keys dict_values "
        "dict_items odict_keys odict_values odict_items deque array list_iterator set_iterator "
        "tuple_iterator UserList"
    ),
    "send float() or str()": "Fraction",
    "make it a dict": "mappingproxy ChainMap UserDict",
    "send .getvalue()": "BytesIO StringIO",
    "send str()": (
        "IPv4Address IPv6Address IPv4Network IPv6Network IPv4Interface IPv6Interface ZoneInfo "
        "Period Interval UserString"
    ),
    "send .pattern": "Pattern",
    "it must stand in the place of a whole item": "Failure",
    "await it first": "coroutine Task Future",
    "wait for its .result() first": "CallFuture",
    "send .tolist()": "Series Index RangeIndex DatetimeIndex MultiIndex Categorical",
    "send None": "NaTType NAType",
    "send its path, and open it there": (
        "TextIOWrapper BufferedReader BufferedWriter BufferedRandom FileIO"
    ),
    "make one in the worker, by a function of slither.worker.on_start": (
        "lock RLock socket SSLSocket SSLContext Connection connection Cursor cursor Engine "
        "Thread Popen"
    ),
    "send .data": "ExtType",
    "send [start, stop, step]": "slice",
    "send vars()": "SimpleNamespace Namespace",
    "only slither.Beam(by_value=True) carries such objects": (
        "function builtin_function_or_method method partial partialmethod"
    ),
}
_HINTS = {name: hint for hint, names in _INSTEAD.items() for name in names.split()}
# The same names mean other things in these packages.
_PACKAGES = {
    ("msgpack", "Timestamp"): "send .to_datetime()",
    ("torch", "Tensor"): "send .detach().cpu().numpy()",
    ("torch", "Parameter"): "send .detach().cpu().numpy()",
    ("polars", "LazyFrame"): "send .collect()",
    ("polars", "Series"): "send .to_frame(), or .to_list()",
    ("pandas", "Series"): "send .to_frame(), or .tolist()",
    ("pyarrow", "ChunkedArray"): "send it in a table, or .to_pylist()",
}
_ANY = (
    "make it a dataclass or a dict, slither.register its type, or use slither.Beam(by_value=True)"
)


def reason(value: object) -> str:
    """Say why a value can't be sent, and what to send instead."""
    kind = type(value)
    name = kind.__name__
    package = kind.__module__.partition(".")[0]
    shown = f"{package}.{name}" if (package, name) in _PACKAGES else name
    hint = _PACKAGES.get((package, name)) or _HINTS.get(name) or _of_kind(value, kind)
    return f"{named(value).partition(' ')[0]} {shown} cannot be sent; {hint}"


def _of_kind(value: object, kind: type) -> str:
    package = kind.__module__.partition(".")[0]
    if isinstance(value, type):
        return "send its name"
    if isinstance(value, BaseException):
        return "send str() or .args"
    if any(one.__name__ == "PurePath" for one in kind.__mro__) or kind.__name__.endswith("DType"):
        return "send str()"
    if package in ("pandas", "numpy") and hasattr(kind, "tolist"):
        return "send .tolist()"
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
        return "make it a dict"  # a row of sqlite3 or asyncpg, a mapping of somebody's own
    return _ANY
