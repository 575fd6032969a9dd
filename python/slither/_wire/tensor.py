"""Tensors: NumPy arrays where NumPy is installed, :class:`Tensor` where it is not.

Pure functions; :mod:`slither._wire.types.arrays` calls them, and imports them when it first meets
a tensor. Arrays of other elements are in :mod:`slither._wire.types.dtypes`.
"""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slither._errors import DecodeError

if TYPE_CHECKING:
    import numpy as np

MAX_RANK = 32
ALIGNMENT = 16
SIZES = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An n-dimensional array, for where NumPy is not installed.

    Arguments: ``dtype``, a name such as ``"float32"``, or a text of NumPy's such as
    ``"<M8[ns]"``; ``shape``, a tuple of dimensions; ``data``, the elements in C order,
    little-endian; ``itemsize``, the bytes of one element, where they do not follow from the
    others. Like an array it can't be hashed.

    >>> Tensor("int16", (2,), b"\\x01\\x00\\x02\\x00").shape
    (2,)
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    itemsize: int | None = None

    # A NumPy array can't be a key: a map must mean the same with and without NumPy.
    __hash__ = None  # type: ignore[assignment]


class BadTensorError(ValueError):
    """A tensor that can't be sent; the text is the reason."""


def header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Build what stands before the elements, padded so that they are aligned."""
    name = dtype.encode("ascii")
    head = struct.pack(f">B{len(name)}sB{len(shape)}Q", len(name), name, len(shape), *shape)
    return head + bytes(-len(head) % ALIGNMENT)


def encode_tensor(tensor: Tensor) -> bytes:
    """Return the payload of the tensor extension."""
    size = SIZES.get(tensor.dtype)
    if size is None:
        raise BadTensorError(f"no tensor has the dtype {tensor.dtype!r}")
    if len(tensor.shape) > MAX_RANK:
        raise BadTensorError(f"a tensor has at most {MAX_RANK} dimensions")
    if not all(type(dim) is int and 0 <= dim < 1 << 64 for dim in tensor.shape):
        raise BadTensorError("a tensor's dimensions are integers of 0 and more")
    want = math.prod(tensor.shape) * size
    if len(tensor.data) != want:
        raise BadTensorError(f"the tensor's data has {len(tensor.data)} bytes instead of {want}")
    return header(tensor.dtype, tuple(tensor.shape)) + bytes(tensor.data)


def encode_array(array: np.ndarray[Any, Any]) -> bytes:
    """Return the payload for a NumPy array; the elements are copied once, into the payload."""
    return b"".join(array_pieces(array))


def array_pieces(array: np.ndarray[Any, Any]) -> tuple[bytes, Any]:
    """Return the payload in two pieces; the elements are the array's own where they can be."""
    dtype = array.dtype
    name = dtype_name(dtype)
    if name is None:
        raise BadTensorError(f"no tensor has the dtype {dtype}")
    if array.ndim > MAX_RANK:
        raise BadTensorError(f"an array may have at most {MAX_RANK} dimensions")
    head = header(name, array.shape)
    plain = array.astype(dtype.newbyteorder("<"), order="C", copy=False, subok=False)
    # memoryview refuses to cast an empty shape, and has no cast for complex numbers.
    return head, plain.reshape(-1).view("u1").data if plain.nbytes else b""


def dtype_name(dtype: np.dtype[Any]) -> str | None:
    """Return the name that a tensor's dtype has on the way; None where it is no number's."""
    kind = _KINDS.get(dtype.kind)
    name = "bool" if kind == "bool" else f"{kind}{dtype.itemsize * 8}"
    return name if name in SIZES else None


class _Thread(threading.local):
    copies = True


_thread = _Thread()


@contextmanager
def on_what_came() -> Iterator[None]:
    """Have this thread make arrays of the bytes that came, which nobody may write into."""
    _thread.copies = False
    try:
        yield
    finally:
        _thread.copies = True


def base(data: bytes | bytearray) -> bytes | bytearray:
    """Return what an array is to stand on: what came, or a copy into which one may write."""
    return bytearray(data) if _thread.copies and not isinstance(data, bytearray) else data


def decode_tensor(data: bytes | bytearray) -> Tensor | np.ndarray[Any, Any]:
    """Read the payload of the tensor extension; an array can be written, and keeps a copy."""
    dtype, shape, start = _read_header(data)
    want = math.prod(shape) * SIZES[dtype]
    if len(data) - start != want:
        raise DecodeError(f"the tensor's data has {len(data) - start} bytes instead of {want}")
    try:
        import numpy
    except ImportError:
        return Tensor(dtype, shape, bytes(data[start:]))
    try:
        kind = numpy.dtype(dtype).newbyteorder("<")
        if want == 0:
            return numpy.empty(shape, kind)
        own = base(data)
        return numpy.frombuffer(own, kind, offset=start).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise DecodeError(f"the tensor's shape {shape} is too large: {error}") from None


def _read_header(data: bytes | bytearray) -> tuple[str, tuple[int, ...], int]:
    try:
        rank_at = 1 + data[0]
        dtype = data[1:rank_at].decode("ascii")
        rank = data[rank_at]
        if dtype not in SIZES:
            raise DecodeError(f"no tensor has the dtype {dtype!r}")
        if rank > MAX_RANK:
            raise DecodeError(f"a tensor has at most {MAX_RANK} dimensions, not {rank}")
        shape = struct.unpack_from(f">{rank}Q", data, rank_at + 1)
    except (IndexError, struct.error):
        raise DecodeError("a tensor's header is cut short") from None
    except UnicodeDecodeError:
        raise DecodeError("a tensor's dtype is not ASCII") from None
    end = rank_at + 1 + 8 * rank
    start = end + -end % ALIGNMENT
    padding = data[end:start]
    if len(padding) != start - end or any(padding):
        raise DecodeError("a tensor's padding is not zero bytes up to a multiple of 16")
    return dtype, shape, start
