"""The tagged JSON of protocol/vectors, as PROTOCOL.md describes it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

from slither import Tensor
from slither._types import Payload

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def load(name: str) -> list[dict[str, Payload]]:
    rows: list[dict[str, Payload]] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    return rows


def untag(value: Payload) -> Payload:
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    if tag == "list":
        return [untag(item) for item in inner]
    if tag == "map":
        return {freeze(untag(key)): untag(item) for key, item in inner}
    if tag == "datetime":
        seconds, micros, offset = map(int, inner)
        zone = timezone(timedelta(seconds=offset))
        return (EPOCH + timedelta(seconds=seconds, microseconds=micros)).astimezone(zone)
    if tag == "tensor":
        return Tensor(inner["dtype"], tuple(inner["shape"]), bytes.fromhex(inner["data"]))
    if tag == "bytes":
        return bytes.fromhex(inner)
    return int(inner) if tag == "int" else float(inner)


def freeze(key: Payload) -> Payload:
    return tuple(map(freeze, key)) if isinstance(key, list) else key


def show(value: Payload) -> Payload:
    """Make two values that are the same compare equal: types, NaN, -0.0, offsets, arrays."""
    if isinstance(value, list | tuple):
        return ["list", [show(item) for item in value]]
    if isinstance(value, dict):
        return ["map", [[show(key), show(item)] for key, item in value.items()]]
    if isinstance(value, datetime):
        return ["datetime", value.isoformat(), value.utcoffset()]
    if isinstance(value, Tensor):
        return ["tensor", value.dtype, list(value.shape), value.data]
    if hasattr(value, "dtype"):
        return ["tensor", value.dtype.name, list(value.shape), value.tobytes()]
    return [type(value).__name__, repr(value)]
