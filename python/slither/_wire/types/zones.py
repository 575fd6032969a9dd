"""Datetimes whose zone has a name, such as Europe/Berlin.

Pure functions, called by :mod:`slither._wire.types.moments`; where this machine knows no such
zone, or finds another offset in it, :class:`NamedOffset` keeps what came.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo

from msgpack import ExtType

from slither._errors import DecodeError
from slither._wire.types.row import RefusedError

ZONED = 11
_HEAD = struct.Struct(">qIiiB")
_DAY = 86_400
# These are no place: what has them is sent by its offset.
_NO_NAMES = frozenset({"UTC", "Etc/UTC"})
# What was looked for and not found, so that no file is looked for again.
_unknown: set[str] = set()
_MANY = 1_024


class NamedOffset(tzinfo):
    """A zone at one instant: its name, its offset then, and what it was called."""

    def __init__(self, key: str, seconds: int, dst: int, abbreviation: str) -> None:
        self.key = key
        self._offset = timedelta(seconds=seconds)
        self._dst = timedelta(seconds=dst)
        self._abbreviation = abbreviation

    def utcoffset(self, _when: datetime | None) -> timedelta:
        return self._offset

    def dst(self, _when: datetime | None) -> timedelta:
        return self._dst

    def tzname(self, _when: datetime | None) -> str:
        return self._abbreviation

    def fromutc(self, when: datetime) -> datetime:
        return when + self._offset

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedOffset) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__()[1])

    def __reduce__(self) -> tuple[type[NamedOffset], tuple[str, int, int, str]]:
        offset, dst = (int(one.total_seconds()) for one in (self._offset, self._dst))
        return NamedOffset, (self.key, offset, dst, self._abbreviation)

    def __repr__(self) -> str:
        return f"<{self.key} at {self._abbreviation}, {self._offset} from UTC>"


def zone_name(zone: tzinfo) -> str | None:
    """Return the name of a zone of zoneinfo, pytz or dateutil; None where it has none."""
    # zoneinfo calls it key, pytz zone; dateutil keeps what it was asked for beside a file's path.
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    if name is None and type(zone).__module__.partition(".")[0] == "dateutil":
        name = _of_file(getattr(zone, "_filename", None))
    if not isinstance(name, str) or name in _NO_NAMES or not 0 < len(name.encode()) <= 255:
        return None
    return str.__str__(name)


def tells_more(name: str, offset: int) -> bool:
    """Tell whether the name of a zone says more than the offset that it has somewhen."""
    if name == "Etc/UTC":
        return offset != 0
    hours, rest = divmod(abs(offset), 3_600)
    minutes, seconds = divmod(rest, 60)
    text = f"{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}"
    return name != (f"{text}:{seconds:02}" if seconds else text)


def _of_file(path: object) -> str | None:
    if not isinstance(path, str):
        return None
    name = path.partition("/zoneinfo/")[2] or path
    return None if name.startswith(("/", "`")) or name == "UTC" else name


def encode_zoned(value: datetime, name: str, seconds: int, offset: int) -> ExtType:
    """Turn a datetime of that instant and zone into its extension."""
    dst = value.dst() or timedelta()
    if dst.microseconds:
        raise RefusedError("daylight saving of part of a second cannot be sent")
    short = (value.tzname() or "").encode()
    if len(short) > 255:
        raise RefusedError("a zone's abbreviation of more than 255 bytes cannot be sent")
    saved = dst.days * _DAY + dst.seconds
    head = _HEAD.pack(seconds, value.microsecond, offset, saved, len(short))
    return ExtType(ZONED, head + short + name.encode())


def decode_zoned(
    data: bytes | bytearray, instant_of: Callable[[int, int, int], datetime]
) -> datetime:
    """Read it; ``instant_of`` checks its numbers, and makes the instant in UTC of them."""
    if len(data) < _HEAD.size:
        raise DecodeError("a datetime with a zone is cut short")
    seconds, micros, offset, dst, length = _HEAD.unpack_from(data)
    instant = instant_of(seconds, micros, offset)
    end = _HEAD.size + length
    if not end < len(data) <= end + 255:
        raise DecodeError("the name of a zone has 1 to 255 bytes")
    if not -_DAY < dst < _DAY:
        raise DecodeError("the daylight saving of a zone is less than a day")
    try:
        short, name = str(data[_HEAD.size : end], "utf-8"), str(data[end:], "utf-8")
    except UnicodeDecodeError:
        raise DecodeError("the name of a zone is not UTF-8") from None
    if not tells_more(name, offset):
        raise DecodeError("a zone that its offset tells is not sent by its name")
    zone = _find(name)
    if zone is not None:
        try:
            there = instant.astimezone(zone)
        except OverflowError:
            there = instant
        if there.tzinfo is zone and there.utcoffset() == timedelta(seconds=offset):
            return there
    return instant.astimezone(NamedOffset(name, offset, dst, short))


def _find(name: str) -> tzinfo | None:
    if name in _unknown:
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except Exception:  # noqa: BLE001 - a name may be a folder, no path at all, or no zone's data
        if len(_unknown) >= _MANY:
            _unknown.clear()
        _unknown.add(name)
        return None
