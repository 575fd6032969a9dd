"""What msgpack has no type for: the extensions, and the reasons why a value can't be sent.

Pure functions, called by the codec for what it can't pack or read by itself.
"""

from __future__ import annotations

import struct
import sys
from datetime import datetime, timedelta, timezone

from msgpack import ExtType

from slither._errors import DecodeError
from slither._types import Payload

BIGINT, DATETIME, TENSOR = 1, 2, 3
MAX_BIGINT = 65_536

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAY = 86_400
# The first and the last second of the years 1 to 9999, in UTC.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
_DATETIME = struct.Struct(">qIi")


class RefusedError(Exception):
    """A value that the protocol does not carry; the text is the reason."""


def to_wire(value: object) -> object:
    """Turn a value that msgpack can't pack into one that it can, or refuse it."""
    if isinstance(value, int):
        return ExtType(BIGINT, _encode_bigint(value))
    if isinstance(value, datetime):
        if type(value).__name__ == "NaTType":
            # pandas makes its "not a time" a datetime, but it has no offset to ask for.
            raise RefusedError(reason(value))
        return ExtType(DATETIME, _encode_datetime(value))
    tensors = sys.modules.get("slither._wire.tensor")
    if tensors is not None and isinstance(value, tensors.Tensor):
        return _tensor(tensors.encode_tensor, value)
    numpy = sys.modules.get("numpy")
    # While another thread imports NumPy, the module may not have its attributes yet.
    if numpy is not None and hasattr(numpy, "bool_") and hasattr(numpy, "ndarray"):
        if isinstance(value, numpy.ndarray):
            from slither._wire.tensor import encode_array

            return _tensor(encode_array, value)
        if isinstance(value, numpy.generic):
            return _scalar(value, numpy)
    raise RefusedError(reason(value))


def from_wire(code: int, data: bytes | bytearray) -> Payload:
    """Read the payload of one extension."""
    if code == BIGINT:
        return _decode_bigint(data)
    if code == DATETIME:
        return _decode_datetime(data)
    if code == TENSOR:
        from slither._wire.tensor import decode_tensor

        return decode_tensor(data)
    raise DecodeError(f"no extension has the type {code}")


def _tensor(encode: Payload, value: Payload) -> ExtType:
    try:
        return ExtType(TENSOR, encode(value))
    except ValueError as error:
        raise RefusedError(str(error)) from None


def _scalar(value: Payload, numpy: Payload) -> bool | int | float:
    if isinstance(value, numpy.bool_):
        return bool(value)
    if isinstance(value, numpy.integer) and not isinstance(value, numpy.timedelta64):
        return int(value)
    if isinstance(value, numpy.floating) and value.dtype.itemsize <= 8:
        return float(value)
    hint = {
        "M": "send str(), or .astype('int64')",
        "m": "send str(), or .astype('int64')",
        "c": "send [value.real, value.imag]",
        "V": "send .item()",
    }.get(value.dtype.kind, "send float() or str()")
    raise RefusedError(f"a numpy.{type(value).__name__} cannot be sent; {hint}")


def _encode_bigint(value: int) -> bytes:
    size = (value.bit_length() + 7) // 8
    if size > MAX_BIGINT:
        raise RefusedError(
            f"an integer of {size} bytes cannot be sent; {MAX_BIGINT} is the limit"
        )
    return bytes([value < 0]) + abs(int(value)).to_bytes(size, "big")


def _decode_bigint(data: bytes | bytearray) -> int:
    if len(data) < 2 or data[0] > 1:
        raise DecodeError("a big integer is a sign byte of 0 or 1 and a magnitude")
    if len(data) - 1 > MAX_BIGINT:
        raise DecodeError(f"a big integer has at most {MAX_BIGINT} bytes, not {len(data) - 1}")
    if data[1] == 0:
        raise DecodeError("a big integer has no leading zeros")
    value = int.from_bytes(data[1:], "big")
    if data[0]:
        value = -value
    if -(1 << 63) <= value < 1 << 64:
        raise DecodeError("an integer of 64 bits is not sent as a big integer")
    return value


def _encode_datetime(value: datetime) -> bytes:
    offset = value.utcoffset()
    if offset is None:
        raise RefusedError("a naive datetime cannot be sent; give it a timezone")
    if getattr(value, "nanosecond", 0):
        raise RefusedError("a time with nanoseconds cannot be sent; round it to microseconds")
    if offset.microseconds:
        raise RefusedError("an offset from UTC of part of a second cannot be sent")
    span = value - _EPOCH
    seconds = span.days * _DAY + span.seconds
    if not _FIRST <= seconds <= _LAST:
        raise RefusedError("a datetime outside the years 1 to 9999 in UTC cannot be sent")
    return _DATETIME.pack(seconds, span.microseconds, offset.days * _DAY + offset.seconds)


def is_ambiguous(value: datetime) -> bool:
    """Tell whether Python never finds this time equal to the same instant in another zone."""
    return value.utcoffset() != value.replace(fold=not value.fold).utcoffset()


def _decode_datetime(data: bytes | bytearray) -> datetime:
    if len(data) != _DATETIME.size:
        raise DecodeError(f"a datetime has {_DATETIME.size} bytes, not {len(data)}")
    seconds, micros, offset = _DATETIME.unpack(data)
    if micros >= 1_000_000:
        raise DecodeError("a datetime has less than 1,000,000 microseconds")
    if not -_DAY < offset < _DAY:
        raise DecodeError("a datetime's offset is less than a day")
    if not (_FIRST <= seconds <= _LAST and _FIRST <= seconds + offset <= _LAST):
        raise DecodeError("a datetime's year is 1 to 9999, in UTC and at the offset")
    instant = _EPOCH + timedelta(seconds=seconds, microseconds=micros)
    if offset == 0:
        return instant
    return instant.astimezone(timezone(timedelta(seconds=offset)))


# What to send instead, and the names of the types for which that is the advice.
_INSTEAD = {
    "make it a list": (
        "set frozenset generator range map filter zip dict_keys dict_values dict_items "
        "deque array"
    ),
    "send a datetime with a timezone, or .isoformat()": "date",
    "send .isoformat()": "time",
    "send .total_seconds()": "timedelta Timedelta",
    "send float() or str()": "Decimal Fraction",
    "send [value.real, value.imag]": "complex",
    "send str() or .bytes": "UUID",
    "make it a dict": "mappingproxy",
    "send .getvalue()": "BytesIO StringIO",
    "send str()": (
        "PosixPath PurePosixPath WindowsPath PureWindowsPath IPv4Address IPv6Address ZoneInfo "
        "Period Interval"
    ),
    "it must stand in the place of a whole item": "Failure",
    "await it first": "coroutine",
    "send .to_dict('records')": "DataFrame",
    "send .tolist()": "Series Index Categorical",
    "send None": "NaTType NAType",
    "send a datetime with a timezone": "Timestamp",
    "the protocol has no such extension": "ExtType",
}
_HINTS = {name: hint for hint, names in _INSTEAD.items() for name in names.split()}
_POLARS = {"DataFrame": "to_dicts", "Series": "to_list"}


def reason(value: object) -> str:
    """Say why a value can't be sent, and what to send instead."""
    name = type(value).__name__
    article = "an" if name[:1] in "aeiouAEIO" else "a"
    if getattr(type(value), "__dataclass_fields__", None) and name not in _HINTS:
        return f"{article} {name} cannot be sent; send dataclasses.asdict(value)"
    if type(value).__module__.split(".")[0] == "torch" and name == "Tensor":
        return "a torch.Tensor cannot be sent; send .detach().cpu().numpy()"
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return f"{article} {name} cannot be sent; send .value"
    if type(value).__module__.split(".")[0] == "polars" and name in ("DataFrame", "Series"):
        return f"a polars.{name} cannot be sent; send .{_POLARS[name]}()"
    hint = _HINTS.get(name, "send None, numbers, str, bytes, lists, dicts, datetimes or arrays")
    return f"{article} {name} cannot be sent; {hint}"
