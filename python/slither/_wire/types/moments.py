"""Dates and times: with an offset from UTC, without, and spans of time.

Pure functions, called by the codec through the table of types. A datetime whose zone has a name
is in :mod:`slither._wire.types.zones`.
"""

from __future__ import annotations

import struct
from datetime import date, datetime, time, timedelta, timezone

from msgpack import ExtType

from slither._errors import DecodeError
from slither._wire.types.row import RefusedError, Row
from slither._wire.types.zones import ZONED, decode_zoned, encode_zoned, tells_more, zone_name

DATETIME, DATE, TIME, NAIVE, SPAN = 2, 4, 5, 6, 7

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_DAY = 86_400
_DAY_MICROS = _DAY * 1_000_000
# The first and the last second of the years 1 to 9999, in UTC.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
_FIRST_DAY = 719_163
"""The ordinal of 1970-01-01."""
_LAST_DAY = date.max.toordinal()
_DATETIME = struct.Struct(">qIi")
_SPAN = struct.Struct(">iII")
_MAX_DAYS = 999_999_999


def _encode_datetime(value: datetime) -> ExtType:
    zone = value.tzinfo
    if zone is None:
        return _encode_naive(value)
    offset = value.utcoffset()
    if offset is None:
        return _encode_naive(value)
    _check_micros(value)
    if offset.microseconds:
        raise RefusedError("an offset from UTC of part of a second cannot be sent")
    span = value - _EPOCH
    seconds = span.days * _DAY + span.seconds
    if not _FIRST <= seconds <= _LAST:
        raise RefusedError("a datetime outside the years 1 to 9999 in UTC cannot be sent")
    east = offset.days * _DAY + offset.seconds
    if type(zone) is not timezone:
        name = zone_name(zone)
        if name is not None and tells_more(name, east):
            return encode_zoned(value, name, seconds, east)
    return ExtType(DATETIME, _DATETIME.pack(seconds, span.microseconds, east))


def _check_micros(value: datetime | timedelta) -> None:
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        raise RefusedError("a time with nanoseconds cannot be sent; round it to microseconds")


def is_ambiguous(value: datetime) -> bool:
    """Tell whether Python never finds this time equal to the same instant in another zone."""
    zone = value.tzinfo
    if zone is None or type(zone) is timezone:
        return False
    return value.utcoffset() != value.replace(fold=not value.fold).utcoffset()


def instant(value: datetime) -> datetime | timedelta:
    """Return what two datetimes share that are the same instant; a naive one is no instant."""
    return value if value.utcoffset() is None else value - _EPOCH


def _decode_datetime(data: bytes | bytearray) -> datetime:
    if len(data) != _DATETIME.size:
        raise DecodeError(f"a datetime has {_DATETIME.size} bytes, not {len(data)}")
    seconds, micros, offset = _DATETIME.unpack(data)
    moment = _read_instant(seconds, micros, offset)
    if offset == 0:
        return moment
    return moment.astimezone(timezone(timedelta(seconds=offset)))


def _read_instant(seconds: int, micros: int, offset: int) -> datetime:
    if micros >= 1_000_000:
        raise DecodeError("a datetime has less than 1,000,000 microseconds")
    if not -_DAY < offset < _DAY:
        raise DecodeError("a datetime's offset is less than a day")
    if not (_FIRST <= seconds <= _LAST and _FIRST <= seconds + offset <= _LAST):
        raise DecodeError("a datetime's year is 1 to 9999, in UTC and at the offset")
    return _EPOCH + timedelta(seconds=seconds, microseconds=micros)


def _encode_naive(value: datetime) -> ExtType:
    _check_micros(value)
    span = value.replace(tzinfo=None) - _NAIVE_EPOCH
    micros = (span.days * _DAY + span.seconds) * 1_000_000 + span.microseconds
    return ExtType(NAIVE, micros.to_bytes(8, "big", signed=True))


def _decode_naive(data: bytes | bytearray) -> datetime:
    if len(data) != 8:
        raise DecodeError(f"a naive datetime has 8 bytes, not {len(data)}")
    micros = int.from_bytes(data, "big", signed=True)
    if not _FIRST <= micros // 1_000_000 <= _LAST:
        raise DecodeError("a naive datetime's year is 1 to 9999")
    return _NAIVE_EPOCH + timedelta(microseconds=micros)


def _encode_date(value: date) -> ExtType:
    return ExtType(DATE, (value.toordinal() - _FIRST_DAY).to_bytes(4, "big", signed=True))


def _decode_date(data: bytes | bytearray) -> date:
    if len(data) != 4:
        raise DecodeError(f"a date has 4 bytes, not {len(data)}")
    day = int.from_bytes(data, "big", signed=True) + _FIRST_DAY
    if not 1 <= day <= _LAST_DAY:
        raise DecodeError("a date's year is 1 to 9999")
    return date.fromordinal(day)


def _encode_time(value: time) -> ExtType:
    if value.tzinfo is not None:
        raise RefusedError(
            "a time with a timezone cannot be sent; send .isoformat(), or a datetime"
        )
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return ExtType(TIME, (seconds * 1_000_000 + value.microsecond).to_bytes(8, "big"))


def _decode_time(data: bytes | bytearray) -> time:
    if len(data) != 8:
        raise DecodeError(f"a time has 8 bytes, not {len(data)}")
    total = int.from_bytes(data, "big")
    if total >= _DAY_MICROS:
        raise DecodeError("a time is less than a day")
    seconds, micros = divmod(total, 1_000_000)
    return time(seconds // 3_600, seconds // 60 % 60, seconds % 60, micros)


def _encode_span(value: timedelta) -> ExtType:
    _check_micros(value)
    return ExtType(SPAN, _SPAN.pack(value.days, value.seconds, value.microseconds))


def _decode_span(data: bytes | bytearray) -> timedelta:
    if len(data) != _SPAN.size:
        raise DecodeError(f"a timedelta has {_SPAN.size} bytes, not {len(data)}")
    days, seconds, micros = _SPAN.unpack(data)
    if abs(days) > _MAX_DAYS or seconds >= _DAY or micros >= 1_000_000:
        raise DecodeError("a timedelta has too many days, seconds or microseconds")
    return timedelta(days, seconds, micros)


def _iso(value: date | time) -> str:
    return value.isoformat()


def _decode_zoned(data: bytes | bytearray) -> datetime:
    return decode_zoned(data, _read_instant)


ROWS = (
    Row(
        "datetime",
        _encode_datetime,
        (datetime,),
        code=DATETIME,
        decode=_decode_datetime,
        doubt=is_ambiguous,
        key=instant,
        plain=_iso,
        ordered=True,
    ),
    Row("datetime", _encode_datetime, code=ZONED, decode=_decode_zoned, plain=_iso, ordered=True),
    Row(
        "naive_datetime",
        _encode_naive,
        code=NAIVE,
        decode=_decode_naive,
        plain=_iso,
        ordered=True,
    ),
    Row("date", _encode_date, (date,), code=DATE, decode=_decode_date, plain=_iso, ordered=True),
    Row("time", _encode_time, (time,), code=TIME, decode=_decode_time, plain=_iso, ordered=True),
    Row(
        "timedelta",
        _encode_span,
        (timedelta,),
        code=SPAN,
        decode=_decode_span,
        plain=lambda value: value.total_seconds(),
        ordered=True,
    ),
)
