"""Arrays whose elements are no plain numbers: of times, of text, of bytes, of records.

Pure functions, called through :mod:`slither._wire.types.arrays`. BEAM takes the dtype for a text
that it does not read.
"""

from __future__ import annotations

import json
import math
import re
import struct
import sys
import warnings
from typing import Any

from slither._errors import DecodeError
from slither._wire.tensor import ALIGNMENT, MAX_RANK, BadTensorError, Tensor, base

_SIMPLE = re.compile(r"[<|][a-zA-Z][0-9]*(\[[0-9]*[a-zA-Z]+\])?")
_LONGEST = 65_535
# Records within records, of which NumPy recurses.
_DEEPEST = 16
_SCALARS = frozenset("MmVfc")


def encode_array(array: Any) -> bytes:
    """Return the payload for a NumPy array; the elements are copied once, into the payload."""
    return b"".join(array_pieces(array))


def array_pieces(array: Any) -> tuple[bytes, Any]:
    """Return the payload in two pieces; the elements are the array's own where they can be."""
    _check(array.dtype)
    dtype = array.dtype.newbyteorder("<")
    text = text_of(dtype)
    if array.ndim > MAX_RANK:
        raise BadTensorError(f"an array may have at most {MAX_RANK} dimensions")
    plain = array.astype(dtype, order="C", copy=False, subok=False)
    # A view of bytes needs a contiguous array, which one without dimensions may not be viewed as.
    body = plain.reshape(-1).view("u1").data if plain.nbytes else b""
    return _header(text, dtype.itemsize, array.shape), body


def text_of(dtype: Any) -> str:
    """Return what a dtype is called on the way, or raise for one that can't be sent."""
    if dtype.names is None and dtype.subdtype is None:
        text = str(dtype.str)
    else:
        try:
            with warnings.catch_warnings():
                # What a dtype has as metadata is not kept.
                warnings.simplefilter("ignore")
                made = sys.modules["numpy"].lib.format.dtype_to_descr(dtype)
        except ValueError:
            made = None
        if not isinstance(made, list) or dtype_of(json.loads(json.dumps(made))) != dtype:
            raise BadTensorError(
                f"an array of dtype {dtype} cannot be sent; send one array for each field"
            )
        text = json.dumps(made)
    if len(text.encode()) > _LONGEST:
        raise BadTensorError(f"a dtype of more than {_LONGEST:,} bytes cannot be sent")
    return text


def _check(dtype: Any) -> None:
    if dtype.kind == "T":
        hint = "call .tolist()"
    elif dtype.hasobject:
        hint = "call .tolist(), or give it a number type"
    elif dtype.kind == "V" and dtype.type.__name__ not in ("void", "record"):
        # Types that other packages add, such as bfloat16, are of this kind, too.
        hint = ".astype('float32')"
    else:
        return
    raise BadTensorError(f"an array of dtype {dtype} cannot be sent; {hint}")


def encode_tensor(tensor: Tensor) -> bytes:
    """Return the payload of a tensor of such elements."""
    count = math.prod(tensor.shape)
    size = tensor.itemsize
    if size is None:
        if not count:
            raise BadTensorError("a tensor without elements needs its itemsize")
        size = len(tensor.data) // count
    if len(tensor.data) != count * size:
        raise BadTensorError(
            f"the tensor's data has {len(tensor.data)} bytes instead of {count * size}"
        )
    if len(tensor.shape) > MAX_RANK:
        raise BadTensorError(f"a tensor has at most {MAX_RANK} dimensions")
    if len(tensor.dtype.encode()) > _LONGEST or not 0 <= size < 1 << 32:
        raise BadTensorError(f"no tensor has the dtype {tensor.dtype[:100]!r}")
    return _header(tensor.dtype, size, tensor.shape) + bytes(tensor.data)


def _header(text: str, size: int, shape: tuple[int, ...]) -> bytes:
    name = text.encode()
    try:
        numbers = struct.pack(f">IB{len(shape)}Q", size, len(shape), *shape)
    except struct.error:
        raise BadTensorError("a tensor's dimensions are integers of 0 and more") from None
    head = struct.pack(">H", len(name)) + name + numbers
    return head + bytes(-len(head) % ALIGNMENT)


def decode_array(data: bytes | bytearray) -> Any:
    """Read it: an array, which can be written and keeps a copy, or a scalar of rank 0."""
    text, size, shape, start = _read_header(data)
    if len(data) - start != math.prod(shape) * size:
        raise DecodeError(
            f"the array's data has {len(data) - start} bytes instead of {math.prod(shape) * size}"
        )
    try:
        import numpy
    except ImportError:
        return Tensor(text, shape, bytes(data[start:]), size)
    try:
        dtype = _read_dtype(text)
        if dtype.itemsize != size:
            raise DecodeError(f"an element of dtype {text[:100]} has {dtype.itemsize} bytes")
        if len(data) == start:
            made = numpy.empty(shape, dtype)
        else:
            made = numpy.frombuffer(base(data), dtype, offset=start).reshape(shape)
    except (ValueError, OverflowError, MemoryError) as error:
        raise DecodeError(f"the array's shape {shape} is too large: {error}") from None
    return made[()] if not shape and dtype.kind in _SCALARS else made


def _read_header(data: bytes | bytearray) -> tuple[str, int, tuple[int, ...], int]:
    try:
        (length,) = struct.unpack_from(">H", data)
        size, rank = struct.unpack_from(">IB", data, 2 + length)
        if rank > MAX_RANK:
            raise DecodeError(f"a tensor has at most {MAX_RANK} dimensions, not {rank}")
        shape = struct.unpack_from(f">{rank}Q", data, 7 + length)
        text = str(data[2 : 2 + length], "utf-8")
    except struct.error:
        raise DecodeError("an array's header is cut short") from None
    except UnicodeDecodeError:
        raise DecodeError("an array's dtype is not UTF-8") from None
    end = 7 + length + 8 * rank
    start = end + -end % ALIGNMENT
    padding = data[end:start]
    if len(padding) != start - end or any(padding):
        raise DecodeError("an array's padding is not zero bytes up to a multiple of 16")
    return text, size, shape, start


def _read_dtype(text: str) -> Any:
    wrong = DecodeError(f"no array has the dtype {text[:100]!r}")
    try:
        if text.startswith("["):
            dtype = dtype_of(json.loads(text))
        elif _SIMPLE.fullmatch(text):
            dtype = sys.modules["numpy"].dtype(text)
        else:
            raise wrong
        # BEAM gives back the text as it was, so what is written otherwise is no such text.
        if dtype.hasobject or text_of(dtype) != text:
            raise wrong
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, SyntaxError):
        raise wrong from None
    return dtype


def dtype_of(made: Any) -> Any:
    """Make a dtype of what ``dtype_to_descr`` gave, once JSON has made lists of its tuples."""
    return sys.modules["numpy"].lib.format.descr_to_dtype(_tuples(made, 0))


def _tuples(made: Any, depth: int) -> list[Any]:
    if depth > _DEEPEST or not made:
        raise ValueError("records within records within records")
    fields = []
    for name, kind, *shape in made:
        names = tuple(name) if isinstance(name, list) else name
        inner = kind if isinstance(kind, str) else _tuples(kind, depth + 1)
        if isinstance(inner, str) and not _SIMPLE.fullmatch(inner):
            raise ValueError(inner)
        fields.append((names, inner, *map(tuple, shape)))
    return fields
