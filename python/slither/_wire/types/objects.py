"""Objects that become data: what is left of a subclass, an enum's member, a record with fields.

Pure functions, called by the codec through the table of types. What comes back is the data, but
where a type hint says what it was.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from slither._wire.types.quantities import encode_int
from slither._wire.types.row import Encoded, Row, always


def _encode_bytes(value: Any) -> bytes:
    return bytes(memoryview(value))


def _encode_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    return dict(value.items())


def _as_base64(value: Any) -> str:
    from base64 import b64encode

    return b64encode(value).decode()


# Subclasses of what a packer takes by itself go as their base.
_BASES: tuple[tuple[type, Any], ...] = (
    (int, encode_int),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, _encode_bytes),
    (bytearray, _encode_bytes),
    (list, list),
    (dict, _encode_dict),
)
BASES = tuple(
    Row(
        "bytes" if base is bytearray else base.__name__,
        encode,
        (base,),
        lossy=True,
        doubt=None if base in (list, dict) else always,
        plain=_as_base64 if base in (bytes, bytearray) else None,
    )
    for base, encode in _BASES
)


def _encode_member(value: Any) -> Any:
    return value.value


def _fields_of_dataclass(value: Any) -> dict[str, Any]:
    kind: Any = type(value)
    return {name: getattr(value, name) for name in _names_of_dataclass(kind)}


@functools.lru_cache(maxsize=256)
def _names_of_dataclass(kind: Any) -> tuple[str, ...]:
    # ClassVar and InitVar are among the fields, and no fields.
    field = sys.modules["dataclasses"]._FIELD
    fields = kind.__dataclass_fields__
    return tuple(name for name, one in fields.items() if one._field_type is field)


def _fields_of_attrs(value: Any) -> dict[str, Any]:
    return {one.name: getattr(value, one.name) for one in type(value).__attrs_attrs__}


def _fields_of_struct(value: Any) -> Encoded:
    # As msgspec writes it, so that msgspec.convert reads it.
    kind = type(value)
    config = kind.__struct_config__
    parts = [getattr(value, name) for name in kind.__struct_fields__]
    if config.array_like:
        return parts if config.tag is None else [config.tag, *parts]
    fields = dict(zip(kind.__struct_encode_fields__, parts, strict=True))
    return fields if config.tag is None else {config.tag_field: config.tag, **fields}


def _fields_of_model(value: Any) -> dict[str, Any]:
    kind = type(value)
    names = getattr(kind, "__pydantic_fields__", None) or getattr(kind, "__fields__", {})
    extra = getattr(value, "__pydantic_extra__", None) or {}
    return {name: getattr(value, name) for name in names} | extra


MEMBER = Row("member", _encode_member, lossy=True, holds=True, doubt=always)
_DATACLASS = Row("dict", _fields_of_dataclass, lossy=True, holds=True, doubt=always)
_ATTRS = Row("dict", _fields_of_attrs, lossy=True, holds=True, doubt=always)
_STRUCT = Row("dict", _fields_of_struct, lossy=True, holds=True, doubt=always)
_MODEL = Row("dict", _fields_of_model, lossy=True, holds=True, doubt=always)


def is_member(kind: type) -> bool:
    """Tell whether the values of a type are members of an enum."""
    enum = sys.modules.get("enum")
    return enum is not None and issubclass(kind, enum.Enum)


def row_of(kind: type) -> Row | None:
    """Return the row for a record's type, by what its makers leave in it."""
    if hasattr(kind, "__dataclass_fields__"):
        return _DATACLASS
    if hasattr(kind, "__attrs_attrs__"):
        return _ATTRS
    if hasattr(kind, "__struct_fields__") and hasattr(kind, "__struct_config__"):
        return _STRUCT
    if hasattr(kind, "__pydantic_fields__") or (
        hasattr(kind, "__fields__") and hasattr(kind, "__get_validators__")
    ):
        return _MODEL
    return None
