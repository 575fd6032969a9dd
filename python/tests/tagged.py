"""The tagged JSON of protocol/vectors, as PROTOCOL.md describes it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from uuid import UUID

from slither import Arrow, Tagged, Tensor
from slither._types import Payload
from slither._wire.blobs import Reference
from slither._wire.tensor import SIZES
from slither._wire.types import dtypes
from slither._wire.types.zones import NamedOffset

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def load(name: str) -> list[dict[str, Payload]]:
    rows: list[dict[str, Payload]] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    return rows


def untag(value: Payload) -> Payload:
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    return UNTAG[tag](inner)


def a_map(pairs: list[Payload]) -> dict[Payload, Payload]:
    return {freeze(untag(key)): untag(item) for key, item in pairs}


def moment(seconds: str, micros: str, offset: str) -> datetime:
    zone = timezone(timedelta(seconds=int(offset)))
    return (EPOCH + timedelta(seconds=int(seconds), microseconds=int(micros))).astimezone(zone)


def zoned(of: dict[str, Payload]) -> datetime:
    # The zone as it came: its name, and what it was then. Here it may be another, or none.
    instant = datetime.fromisoformat(of["utc"].replace("Z", "+00:00"))
    zone = NamedOffset(of["zone"], of["offset"], of["dst"], of["abbr"])
    return instant.astimezone(zone)


def array(of: dict[str, Payload]) -> Tensor:
    return Tensor(of["dtype"], tuple(of["shape"]), bytes.fromhex(of["hex"]), of["size"])


def path(flavour: str, data: str) -> PurePath:
    kind = {"path": Path, "pure_posix": PurePosixPath, "pure_windows": PureWindowsPath}[flavour]
    text = bytes.fromhex(data)
    made: PurePath = kind(text.decode() if flavour == "pure_windows" else os.fsdecode(text))
    return made


UNTAG: dict[str, Callable[[Payload], Payload]] = {
    "list": lambda items: [untag(item) for item in items],
    "map": a_map,
    "datetime": lambda parts: moment(*parts),
    "tensor": lambda of: Tensor(of["dtype"], tuple(of["shape"]), bytes.fromhex(of["data"])),
    "bytes": bytes.fromhex,
    "int": int,
    "float": float,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "naive": datetime.fromisoformat,
    "timedelta": lambda micros: timedelta(microseconds=int(micros)),
    "decimal": Decimal,
    "uuid": UUID,
    "complex": lambda parts: complex(*(untag(part) for part in parts)),
    "zoned": zoned,
    "array": array,
    "path": lambda parts: path(*parts),
    "tuple": lambda items: tuple(untag(item) for item in items),
    "set": lambda items: {freeze(untag(item)) for item in items},
    "frozenset": lambda items: frozenset(freeze(untag(item)) for item in items),
    "arrow": lambda of: Arrow(of["kind"], of["columns"], of["rows"], bytes.fromhex(of["hex"])),
    "blob": lambda parts: Reference(parts[0], parts[1], int(parts[2]), parts[3]),
    "tagged": lambda parts: Tagged(parts[0], untag(parts[1])),
}


def freeze(key: Payload) -> Payload:
    return tuple(map(freeze, key)) if isinstance(key, list) else key


def show(value: Payload) -> Payload:
    """Make two values that are the same compare equal: types, NaN, -0.0, offsets, arrays."""
    if isinstance(value, list | tuple):
        return [type(value).__name__, [show(item) for item in value]]
    if isinstance(value, dict):
        return ["map", [[show(key), show(item)] for key, item in value.items()]]
    if isinstance(value, set | frozenset):
        return [type(value).__name__, sorted((show(item) for item in value), key=repr)]
    if isinstance(value, Tagged):
        return ["tagged", value.name, show(value.value)]
    if isinstance(value, datetime):
        return [
            "datetime",
            value.isoformat(),
            value.utcoffset(),
            getattr(value.tzinfo, "key", ""),
        ]
    if isinstance(value, Arrow):
        return ["arrow", value.kind, value.columns, value.rows, value.data]
    if isinstance(value, Tensor):
        return ["tensor", value.dtype, list(value.shape), value.data]
    if hasattr(value, "dtype"):
        plain = value.dtype.name in SIZES
        name = value.dtype.name if plain else dtypes.text_of(value.dtype)
        return ["tensor", name, list(value.shape), value.tobytes()]
    return [type(value).__name__, repr(value)]
