"""Arrays and scalars of NumPy, or :class:`slither.Tensor` without it, and tables of data.

Pure functions, called by the codec through the table of types. What builds and reads the bytes is
:mod:`slither._wire.tensor` for numbers, :mod:`slither._wire.types.dtypes` for other arrays, and
:mod:`slither._wire.types.arrow` for tables. Each is imported when there is a first one, for
workers to start soon.
"""

from __future__ import annotations

import sys
from typing import Any

from msgpack import ExtType

from slither._wire import blobs
from slither._wire.types.quantities import encode_complex
from slither._wire.types.row import RefusedError, Row

TENSOR, ARRAY, ARROW = 3, 12, 13


def _encode_array(value: Any) -> ExtType:
    from slither._wire import tensor

    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.ma.MaskedArray):
        raise RefusedError("a masked array cannot be sent; call .filled(value) first")
    try:
        if tensor.dtype_name(value.dtype) is not None:
            code, pieces = TENSOR, tensor.array_pieces(value)
        else:
            code, pieces = ARRAY, _dtypes().array_pieces(value)
    except ValueError as error:
        raise RefusedError(str(error)) from None
    return blobs.shared(code, pieces) or ExtType(code, b"".join(pieces))


def _encode_tensor(value: Any) -> ExtType:
    from slither._wire import tensor

    try:
        if value.dtype[:1] in ("<", "|", "["):
            return ExtType(ARRAY, _dtypes().encode_tensor(value))
        return ExtType(TENSOR, tensor.encode_tensor(value))
    except ValueError as error:
        raise RefusedError(str(error)) from None


def _dtypes() -> Any:
    from slither._wire.types import dtypes

    return dtypes


def _decode_tensor(data: bytes | bytearray) -> Any:
    from slither._wire.tensor import decode_tensor

    return decode_tensor(data)


def _decode_array(data: bytes | bytearray) -> Any:
    return _dtypes().decode_array(data)


def _arrow() -> Any:
    from slither._wire.types import arrow

    return arrow


def _encode_table(value: Any) -> ExtType:
    data = _arrow().encode(value)
    # A packer takes a bytearray as well, which the class's own way would have copied once more.
    extension: ExtType = tuple.__new__(ExtType, (ARROW, data))
    return blobs.shared(ARROW, (data,)) or extension


def _decode_table(data: bytes | bytearray) -> Any:
    return _arrow().decode(data)


def _table_as_rows(value: Any) -> Any:
    return _arrow().plain(value)


def _encode_reference(value: Any) -> ExtType:
    return ExtType(blobs.CODE, value.packed())


def _encode_scalar(value: Any) -> object:
    kind, size = value.dtype.kind, value.dtype.itemsize
    if kind == "b":
        return bool(value)
    if kind in "iu":
        return int(value)
    if kind == "f" and size <= 8:
        return float(value)
    if kind == "c" and size <= 16:
        return encode_complex(complex(value))
    if kind == "U":
        return str.__str__(value)
    if kind == "S":
        return bytes(value)
    if kind == "V" and type(value).__name__ not in ("void", "record"):
        # Types that other packages add, such as bfloat16, are of this kind, too.
        raise RefusedError(f"a numpy.{type(value).__name__} cannot be sent; send float()")
    return _encode_array(sys.modules["numpy"].asarray(value))


def _is_odd(value: Any) -> bool:
    # These can be hashed, but are no keys.
    return value.dtype.kind in "MmV"


def _as_list(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return {"dtype": value.dtype, "shape": list(value.shape), "data": value.data}


def _as_item(value: Any) -> Any:
    made = value.item()
    # The widest floats have no type of Python's own.
    return made if type(made) is not type(value) else complex(made) if made.imag else float(made)


ROWS = (
    Row(
        "tensor",
        _encode_array,
        later="numpy.ndarray numpy.memmap",
        code=TENSOR,
        decode=_decode_tensor,
        plain=_as_list,
    ),
    Row(
        "tensor",
        _encode_tensor,
        later="slither._wire.tensor.Tensor",
        code=ARRAY,
        decode=_decode_array,
        plain=_as_list,
    ),
    Row(
        "tensor",
        _encode_scalar,
        later="numpy.generic",
        lossy=True,
        doubt=_is_odd,
        plain=_as_item,
    ),
    Row(
        "arrow",
        _encode_table,
        later=(
            "slither._wire.types.arrow.Arrow pyarrow.Table pyarrow.RecordBatch pandas.DataFrame "
            "polars.DataFrame"
        ),
        code=ARROW,
        decode=_decode_table,
        plain=_table_as_rows,
    ),
    Row(
        "blob",
        _encode_reference,
        (blobs.Reference,),
        later="slither._driver.blobs.Blob",
        code=blobs.CODE,
        decode=blobs.decode,
        closed=True,
    ),
)
blobs.decoders.update({TENSOR: _decode_tensor, ARRAY: _decode_array, ARROW: _decode_table})
