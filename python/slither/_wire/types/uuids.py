"""UUIDs and paths of files.

Pure functions, called by the codec through the table of types.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgpack import ExtType

from slither._errors import DecodeError
from slither._wire.types.row import RefusedError, Row

if TYPE_CHECKING:
    from pathlib import PurePath
    from uuid import UUID

UUID_CODE, PATH = 9, 15
_FLAVOURS = ("Path", "PurePosixPath", "PureWindowsPath")


def _encode_uuid(value: UUID) -> ExtType:
    return ExtType(UUID_CODE, value.bytes)


def _decode_uuid(data: bytes | bytearray) -> UUID:
    from uuid import UUID

    if len(data) != 16:
        raise DecodeError(f"a UUID has 16 bytes, not {len(data)}")
    return UUID(bytes=bytes(data))


def _encode_path(value: PurePath) -> ExtType:
    name = type(value).__name__
    flavour = _FLAVOURS.index(name) if name in _FLAVOURS else 0
    try:
        text = str(value).encode() if flavour == 2 else os.fsencode(str(value))
    except UnicodeEncodeError:
        raise RefusedError(f"a {name} with a lone surrogate cannot be sent; send bytes") from None
    return ExtType(PATH, bytes((flavour,)) + text)


def _decode_path(data: bytes | bytearray) -> PurePath:
    import pathlib

    if not data or data[0] >= len(_FLAVOURS):
        raise DecodeError("a path begins with its flavour, 0 to 2")
    if data[0] < 2:
        kind = pathlib.PurePosixPath if data[0] else pathlib.Path
        return kind(os.fsdecode(bytes(data[1:])))
    try:
        return pathlib.PureWindowsPath(str(data[1:], "utf-8"))
    except UnicodeDecodeError:
        raise DecodeError("the path of another machine is not UTF-8") from None


ROWS = (
    Row("uuid", _encode_uuid, later="uuid.UUID", code=UUID_CODE, decode=_decode_uuid),
    Row(
        "path",
        _encode_path,
        later=(
            "pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath pathlib.PureWindowsPath"
        ),
        code=PATH,
        decode=_decode_path,
        # A subclass may be no file of this machine: a bucket's, or a host's.
        closed=True,
    ),
)
