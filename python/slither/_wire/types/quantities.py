"""Numbers that msgpack has no type for: big integers, decimals and complex numbers.

Pure functions, called by the codec through the table of types.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING

from msgpack import ExtType

from slither._errors import DecodeError
from slither._wire.types.row import RefusedError, Row, is_nan

if TYPE_CHECKING:
    from decimal import Decimal

BIGINT, DECIMAL, COMPLEX = 1, 8, 10
MAX_BIGINT = 65_536
MAX_DIGITS = 4_300
"""Digits of a decimal."""
MAX_EXPONENT = 1_000_000

_DECIMAL = re.compile(rb"-?(?:0|[1-9][0-9]*)E(0|-?[1-9][0-9]*)")
_ODD = frozenset({b"NaN", b"Infinity", b"-Infinity"})
_COMPLEX = struct.Struct(">dd")


def encode_int(value: int) -> int | ExtType:
    """Turn an integer of any size, or of a subclass, into what msgpack takes."""
    plain = int.__int__(value)
    if -(1 << 63) <= plain < 1 << 64:
        return plain
    size = (plain.bit_length() + 7) // 8
    if size > MAX_BIGINT:
        raise RefusedError(
            f"an integer of {size} bytes cannot be sent; {MAX_BIGINT} is the limit"
        )
    return ExtType(BIGINT, bytes([plain < 0]) + abs(plain).to_bytes(size, "big"))


def _decode_int(data: bytes | bytearray) -> int:
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


def _encode_decimal(value: Decimal) -> ExtType:
    from decimal import Decimal

    # A context may ask for a small e.
    text = Decimal.__str__(value).upper()
    if not value.is_finite():
        if text in ("NAN", "-NAN"):
            return ExtType(DECIMAL, b"NaN")
        if "NAN" in text:
            kind = "a signalling NaN" if value.is_snan() else "a NaN with a payload"
            raise RefusedError(f"{kind} cannot be sent; send Decimal('NaN')")
        return ExtType(DECIMAL, b"-Infinity" if value < 0 else b"Infinity")
    mantissa, _, exponent = text.partition("E")
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, part = mantissa.removeprefix("-").partition(".")
    digits = (whole + part).lstrip("0") or "0"
    power = int(exponent or 0) - len(part)
    if len(digits) > MAX_DIGITS:
        raise RefusedError(
            f"a Decimal of {len(digits)} digits cannot be sent; {MAX_DIGITS:,} is the limit"
        )
    if abs(power) > MAX_EXPONENT:
        raise RefusedError(
            f"a Decimal with the exponent {power} cannot be sent; "
            f"{MAX_EXPONENT:,} is the limit, either way"
        )
    return ExtType(DECIMAL, f"{sign}{digits}E{power}".encode())


def _decode_decimal(data: bytes | bytearray) -> Decimal:
    from decimal import Decimal

    found = _DECIMAL.fullmatch(data)
    if found is None:
        if bytes(data) in _ODD:
            return Decimal(data.decode())
        raise DecodeError("a decimal is digits, an E and an exponent, without leading zeros")
    digits, power = len(data.lstrip(b"-").partition(b"E")[0]), found.group(1)
    if digits > MAX_DIGITS:
        raise DecodeError(f"a decimal has at most {MAX_DIGITS:,} digits, not {digits}")
    if len(power) > 8 or abs(int(power)) > MAX_EXPONENT:
        raise DecodeError(f"a decimal's exponent is {MAX_EXPONENT:,} at most, either way")
    return Decimal(data.decode())


def encode_complex(value: complex) -> ExtType:
    """Turn a complex number, or one of a subclass, into its extension."""
    real, imag = (math.nan if is_nan(part) else part for part in (value.real, value.imag))
    return ExtType(COMPLEX, _COMPLEX.pack(real, imag))


def _decode_complex(data: bytes | bytearray) -> complex:
    if len(data) != _COMPLEX.size:
        raise DecodeError(f"a complex number has {_COMPLEX.size} bytes, not {len(data)}")
    return complex(*_COMPLEX.unpack(data))


def _key_of_complex(value: complex) -> object:
    return encode_complex(value).data if is_nan(value) else value


ROWS = (
    Row("int", encode_int, (int,), code=BIGINT, decode=_decode_int),
    Row(
        "decimal",
        _encode_decimal,
        later="decimal.Decimal",
        code=DECIMAL,
        decode=_decode_decimal,
        # Two that are equal are one key here, and more than one NaN can be in a dict.
        doubt=lambda value: bool(value.is_nan()),
        key=lambda value: "nan" if value.is_nan() else value,
        ordered=True,
    ),
    Row(
        "complex",
        encode_complex,
        (complex,),
        code=COMPLEX,
        decode=_decode_complex,
        doubt=is_nan,
        key=_key_of_complex,
        plain=lambda value: [value.real, value.imag],
    ),
)
