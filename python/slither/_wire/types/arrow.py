"""Tables of data as Arrow IPC streams: those of pyarrow, and frames of pandas and polars.

Pure functions, called by the codec in any thread: :mod:`slither._wire.types.arrays` has their
row, and imports this module when there is a first one. None of the three packages is imported
before a value needs it. What can't be read here, for want of a package or because the bytes are
no table, is an :class:`Arrow`: it never fails its frame.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

from slither._errors import DecodeError
from slither._types import Payload
from slither._wire.types.row import RefusedError

KINDS = ("table", "record_batch", "pandas", "polars")
"""What a table is in Python, each at its number on the wire."""
ALIGNMENT = 64
_MOST_COLUMNS = _LONGEST_NAME = 0xFFFF
# Older ones run code that a stream may hold (CVE-2023-47248).
_SAFE = (14, 0, 1)


class Arrow:
    """A table of data as the bytes of an Arrow IPC stream, for where no package reads them.

    Arguments: ``kind``, what it is elsewhere: ``"table"`` or ``"record_batch"`` of pyarrow,
    ``"pandas"`` or ``"polars"``; ``columns``, their names; ``rows``, how many there are;
    ``data``, the stream. It can be sent on. Like a table it can't be hashed.

    >>> Arrow("pandas", ("name", "score"), 3, b"")
    <slither.Arrow: pandas of 3 rows: name, score, 0 bytes>
    """

    __slots__ = ("columns", "data", "kind", "rows")

    # A frame can't be a key: a map must mean the same with and without its package.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: str, columns: Iterable[str], rows: int, data: bytes) -> None:
        """Keep what it is; it is looked at when it is sent."""
        self.kind = kind
        self.columns = tuple(columns)
        self.rows = rows
        self.data = data

    def __eq__(self, other: object) -> bool:
        """Compare with another of the same bytes."""
        if not isinstance(other, Arrow):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Arrow.__slots__)

    def __repr__(self) -> str:
        """Show what it is, without its data."""
        names = ", ".join(self.columns)
        names = names if len(names) <= 80 else f"{len(self.columns)} columns"
        return (
            f"<slither.Arrow: {self.kind} of {self.rows} rows: {names}, {len(self.data)} bytes>"
        )

    def read(self) -> Payload:
        """Return the table or the frame that it is, or raise why it can't be read here.

        ImportError where a package is missing, ValueError where the data is no table.
        """
        try:
            return _read(KINDS.index(self.kind), self.data, 0)
        except ImportError:
            raise
        except BaseException as error:  # noqa: BLE001 - polars panics with such ones
            raise _unreadable(error) from None


def encode(value: Payload) -> bytes | bytearray:
    """Return the payload of a table, a frame or an :class:`Arrow`; its data is copied once."""
    if isinstance(value, Arrow):
        return _encode_opaque(value)
    # A subclass goes as its base.
    bases = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    if "polars" in bases:
        return _encode_polars(value)
    try:
        pyarrow = _pyarrow()
    except ImportError as error:
        raise RefusedError(
            f"a pandas.DataFrame cannot be sent: {error}; or send .to_dict('records')"
        ) from None
    if "pandas" in bases:
        from slither._wire.types.pandas_frames import of_pandas

        return _encode_arrow(of_pandas(value, pyarrow), 2, pyarrow)
    return _encode_arrow(value, int(isinstance(value, pyarrow.RecordBatch)), pyarrow)


def decode(data: bytes | bytearray) -> Payload:
    """Read a payload: its table or frame, which keeps the bytes where its package allows it."""
    kind, rows, columns, start = _read_header(data)
    try:
        return _read(kind, data, start)
    # Whatever a package says of bytes that are no table, polars' panics included.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        return Arrow(KINDS[kind], columns, rows, bytes(data[start:]))


def _unreadable(error: BaseException) -> ValueError:
    text = str(error).partition("\n")[0] or type(error).__name__
    return ValueError(f"the data is no table that can be read here: {text}")


def _pyarrow() -> Payload:
    try:
        import pyarrow
    except ImportError:
        raise ImportError(
            "tables of data need pyarrow: pip install 'slither-beam[arrow]'", name="pyarrow"
        ) from None
    if tuple(int(part) for part in pyarrow.__version__.split(".")[:3] if part.isdigit()) < _SAFE:
        raise ImportError(
            f"pyarrow {pyarrow.__version__} runs code that a table may hold: install 14.0.1 or "
            "newer",
            name="pyarrow",
        )
    import pyarrow.ipc

    return pyarrow


def _head(kind: int, rows: int, columns: Payload) -> bytes:
    names = [_name(column) for column in columns]
    if len(names) > _MOST_COLUMNS:
        raise RefusedError(f"a table of {len(names)} columns cannot be sent; it may have 65,535")
    parts = [struct.pack(">BQH", kind, rows, len(names))]
    for name in names:
        parts += (struct.pack(">H", len(name)), name)
    head = b"".join(parts)
    return head + bytes(-len(head) % ALIGNMENT)


def _name(column: object) -> bytes:
    try:
        name = str(column).encode()
    except UnicodeEncodeError:
        raise RefusedError(f"a column's name {column!a:.80} is not UTF-8") from None
    if len(name) > _LONGEST_NAME:
        raise RefusedError(f"a column's name has {len(name)} bytes; it may have 65,535")
    return name


def _encode_opaque(value: Arrow) -> bytes:
    if value.kind not in KINDS:
        raise RefusedError(f"no table has the kind {value.kind!r}; known: {', '.join(KINDS)}")
    if type(value.rows) is not int or not 0 <= value.rows < 1 << 64:
        raise RefusedError("a table's rows are an integer of 0 or more")
    return _head(KINDS.index(value.kind), value.rows, value.columns) + bytes(value.data)


def _encode_arrow(table: Payload, kind: int, pyarrow: Payload) -> bytearray:
    try:
        head = _head(kind, table.num_rows, table.schema.names)
        # The size is found first, so that the data is copied once, to its place.
        sizing = pyarrow.MockOutputStream()
        _write(table, sizing, pyarrow)
        payload = bytearray(len(head) + sizing.size())
        payload[: len(head)] = head
        place = pyarrow.py_buffer(memoryview(payload)[len(head) :])
        with pyarrow.FixedSizeBufferWriter(place) as out:
            _write(table, out, pyarrow)
    except (pyarrow.ArrowException, UnicodeError) as error:
        raise RefusedError(f"a {_called(table)} cannot be sent: {_line(error)}") from None
    return payload


def _write(table: Payload, out: Payload, pyarrow: Payload) -> None:
    with pyarrow.ipc.new_stream(out, table.schema) as writer:
        writer.write(table)


def _called(table: object) -> str:
    return f"{type(table).__module__.partition('.')[0]}.{type(table).__name__}"


def _line(error: Exception) -> str:
    # pyarrow names the column in a second argument.
    return "; ".join(str(part) for part in error.args) or type(error).__name__


def _encode_polars(frame: Payload) -> bytes:
    import polars

    # Written as the addresses of its objects.
    odd = [name for name, kind in frame.schema.items() if _has_objects(kind, polars)]
    if odd:
        raise RefusedError(
            f"a polars.DataFrame with the column {odd[0]!r} of Python objects cannot be sent; "
            "drop it, or send .to_dicts()"
        )
    out = io.BytesIO()
    out.write(_head(3, frame.height, frame.columns))
    try:
        # The types that every reader of Arrow knows.
        frame.write_ipc_stream(out, compat_level=polars.CompatLevel.oldest())
    except polars.exceptions.PolarsError as error:
        raise RefusedError(f"a polars.DataFrame cannot be sent: {error}") from None
    return out.getvalue()


def _has_objects(kind: Payload, polars: Payload) -> bool:
    if kind == polars.Object:
        return True
    inner = [kind.inner] if hasattr(kind, "inner") else []
    inner += [part.dtype for part in getattr(kind, "fields", ())]
    return any(_has_objects(part, polars) for part in inner)


def _read_header(data: bytes | bytearray) -> tuple[int, int, tuple[str, ...], int]:
    try:
        kind, rows, count = struct.unpack_from(">BQH", data)
        end, names = 11, []
        for _ in range(count):
            (size,) = struct.unpack_from(">H", data, end)
            end += 2 + size
            if end > len(data):
                raise DecodeError("a table's header is cut short")
            names.append(bytes(data[end - size : end]).decode())
    except struct.error:
        raise DecodeError("a table's header is cut short") from None
    except UnicodeDecodeError:
        raise DecodeError("the name of a table's column is not UTF-8") from None
    if kind >= len(KINDS):
        raise DecodeError(f"no table has the kind {kind}")
    start = end + -end % ALIGNMENT
    padding = data[end:start]
    if len(padding) != start - end or any(padding):
        raise DecodeError("a table's padding is not zero bytes up to a multiple of 64")
    return kind, rows, tuple(names), start


def _read(kind: int, data: bytes | bytearray, start: int) -> Payload:
    if KINDS[kind] == "polars":
        import polars

        stream = io.BytesIO(data)
        stream.seek(start)
        return polars.read_ipc_stream(stream)
    pyarrow = _pyarrow()
    if KINDS[kind] == "pandas":
        # pyarrow says that it is missing in words of its own.
        import pandas  # noqa: F401
    with pyarrow.ipc.open_stream(pyarrow.py_buffer(data).slice(start)) as reader:
        one = KINDS[kind] == "record_batch"
        found = reader.read_next_batch() if one else reader.read_all()
    # What comes from elsewhere may point beyond its end, and would crash whoever looks there.
    found.validate(full=True)
    if KINDS[kind] != "pandas":
        return found
    from slither._wire.types.pandas_frames import to_pandas

    return to_pandas(found)


def plain(value: Payload) -> Payload:
    """Return what JSON has a type for: the rows, or what an :class:`Arrow` says of itself."""
    if isinstance(value, Arrow):
        return {"kind": value.kind, "columns": list(value.columns), "rows": value.rows}
    if hasattr(value, "to_pylist"):
        return value.to_pylist()
    return value.to_dicts() if hasattr(value, "to_dicts") else value.to_dict("records")
