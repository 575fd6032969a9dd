"""The one table of types: how each value that msgpack has no type for goes, and comes back.

Looked up by whoever handles values: the codec, the walk that names what can't be sent,
expressions and what writes JSON. A new type is a row of a module beside this one. Any thread may
look, and fills the cache.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from msgpack import ExtType

from slither._errors import DecodeError
from slither._wire.types import (
    arrays,
    groups,
    moments,
    objects,
    quantities,
    tagged,
    uuids,
)
from slither._wire.types.row import RefusedError, Row, always, named

T = TypeVar("T")

PICKLED = 14
"""The code of what only its maker opens; see :class:`slither._wire.types.row.Opaque`."""

TABLE: tuple[Row, ...] = (
    *quantities.ROWS,
    *moments.ROWS,
    *uuids.ROWS,
    *groups.ROWS,
    tagged.ROW,
    *arrays.ROWS,
)
DECODERS: dict[int, Callable[[bytes | bytearray], Any]] = {
    row.code: row.decode for row in TABLE if row.decode is not None
}
BUILDERS: dict[bytes, Callable[[list[Any]], Any]] = {
    bytes((row.mark,)): row.build
    for row in TABLE
    if row.mark is not None and row.build is not None
}
ROWS: dict[type, Row] = {}
"""The rows by the types that were asked for so far."""
_registered: dict[type, Row] = {}
# Classes that a program makes as it runs would pile up otherwise.
_MANY = 4_096
# What a packer takes by itself.
_READY = frozenset({ExtType, list, dict, int, float, str, bytes, bool, type(None)})
_NONE = frozenset({"NaTType", "NAType"})


def _refuse(value: object) -> object:
    from slither._wire.types.hints import reason

    raise RefusedError(reason(value))


REFUSED = Row("other", _refuse, doubt=always)


def _begin() -> None:
    # Others read meanwhile: what stays is never missing.
    known = {kind: row for row in TABLE for kind in row.types} | _registered
    ROWS.update(known)
    for kind in ROWS.keys() - known.keys():
        ROWS.pop(kind, None)


def register(
    type: type[T],
    encode: Callable[[T], Any],
    decode: Callable[[Any], T],
    *,
    name: str | None = None,
) -> None:
    """Tell how values of a type are sent, and made again.

    Arguments: ``type``, a class, whose subclasses are registered by themselves; ``encode``,
    which makes of a value anything that can be sent, also of other registered types; ``decode``,
    which makes a value of what ``encode`` gave, once it has come; ``name``, what the type is
    called on the way, by default its module and qualified name.

    Both sides must have registered it: what has a name that nobody has registered comes as
    :class:`slither.Tagged`, as it does on BEAM (``%Slither.Tagged{}``). In a module that programs
    and workers import, a call at the top is enough. What either function raises fails the item
    that the value is in. Raises ValueError where another type has the name, and for int, str,
    list and the like, which go as they are.

    >>> class Money:
    ...     def __init__(self, cents): self.cents = cents
    >>> register(Money, lambda money: money.cents, Money, name="shop.Money")
    """
    row = tagged.row_of(type, encode, decode, name)
    _registered[type] = row
    _begin()


def find(kind: type) -> Row:
    """Return the row of a type; it refuses what can't be sent."""
    row = ROWS.get(kind)
    if row is None:
        row = _look(kind)
        if row is not REFUSED:
            # Refused types stay out: another thread may be importing what has a row for one.
            if len(ROWS) > _MANY:
                _begin()
            ROWS[kind] = row
    return row


def _look(kind: type) -> Row:
    if kind.__name__ in _NONE or issubclass(kind, ExtType):
        return REFUSED
    if objects.is_member(kind):
        return _MEMBER
    for row, known in _loaded():
        if kind is known:
            return row
        if issubclass(kind, known):
            return REFUSED if row.closed else row._replace(lossy=True)
    for row in (*objects.BASES, *TABLE):
        if row.types and issubclass(kind, row.types):
            return row._replace(lossy=True)
    return objects.row_of(kind) or REFUSED


def _loaded() -> list[tuple[Row, type]]:
    """Return the types of modules that are loaded, the exact ones before those they are of."""
    found = []
    for row in TABLE:
        for path in row.later.split():
            module, _, name = path.rpartition(".")
            # While another thread imports a module, it may not have its attributes yet.
            kind = getattr(sys.modules.get(module), name, None)
            if isinstance(kind, type):
                found.append((row, kind))
    return found


def becomes_data(kind: type) -> bool:
    """Tell whether objects of a type are sent as the data in them."""
    return find(kind).holds and kind is not tagged.Tagged


def plain(value: Any) -> Any:
    """Return what a packer takes for a value that it does not take by itself."""
    kind = type(value)
    return (ROWS.get(kind) or find(kind)).encode(value)


def as_json(value: Any) -> Any:
    """Return what JSON has a type for, in place of a value for which it has none.

    It may have parts that are any values. Raises TypeError for what can't be sent.

    >>> from datetime import timedelta
    >>> as_json(timedelta(minutes=1)), as_json({3, 1}), as_json(b"ab")
    (60.0, [1, 3], 'YWI=')
    """
    row = find(type(value))
    if row is REFUSED:
        raise TypeError(f"{named(value)} can't be written as JSON")
    if row.plain is not None:
        return row.plain(value)
    return row.encode(value) if row.lossy and not row.code else str(value)


def _settled(member: Any) -> Any:
    value = member.value
    while type(value) not in _READY:
        value = plain(value)
    return quantities.encode_int(value) if type(value) is int else value


_MEMBER = objects.MEMBER._replace(encode=_settled)


def refuse_code(code: int, _data: bytes | bytearray) -> Any:
    """Refuse an extension that is not in the table."""
    raise DecodeError(f"no extension has the type {code}")


_begin()
