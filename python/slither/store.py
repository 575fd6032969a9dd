"""Tables of BEAM's stores as mappings, for handlers.

A store declares a table ``python: :read`` or ``python: :read_write``; a handler then uses it
like a dict that all workers and BEAM share::

    from slither import store

    features = store.table("features")


    def score(keys: list[str]) -> list[float]:
        known = features.get_many(keys)
        return [known[key]["weight"] if key in known else 0.0 for key in keys]

Each operation is one round trip, and sees and makes changes at once. Keys and values cross as
everything does: text is ``str``, a ``tuple`` as a key is a list on BEAM. Tables work from any
thread of a worker.
"""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    ValuesView,
)
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from slither._errors import (
    SlitherError,
    TableError,
    TableRefused,
    UnknownTable,
)
from slither._types import Payload
from slither._worker import current
from slither._worker.answers import Failures, value_of

if TYPE_CHECKING:
    from slither._wire.frames import Answer

__all__ = ["Table", "table"]

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_KINDS = {"unknown_table": UnknownTable, "table_refused": TableRefused}
_FAILURES = Failures(_KINDS, other=TableError, unsent=TableError, lost=TableError)


def table(name: str) -> Table[Payload, Payload]:
    """Return the mapping over the table ``name``; nothing is sent before it is used.

    A table that is not declared for Python raises :class:`slither.UnknownTable` on first use,
    and says how to declare it.

    >>> table("features")
    <slither.store.Table 'features'>
    """
    return Table(name)


class Table(MutableMapping[K, V], Generic[K, V]):
    """A table of a store, as a mutable mapping.

    Writes to a table declared ``python: :read`` raise :class:`slither.TableRefused`; outside a
    worker everything raises :class:`slither.SlitherError`.

    >>> table("features")["user:42"]
    Traceback (most recent call last):
        ...
    slither._errors.SlitherError: table 'features' was used outside a worker; ...
    """

    def __init__(self, name: str) -> None:
        """Take the table's name."""
        if not isinstance(name, str):
            raise TypeError(f"a table's name is a str, not {name!r}")
        self.name = name

    def __repr__(self) -> str:
        """Name the table; its data stays where it is."""
        return f"<slither.store.Table {self.name!r}>"

    def __getitem__(self, key: K) -> V:
        """Return the value, or raise ``KeyError``."""
        found: list[V] = self._ask("get", key)
        if not found:
            raise KeyError(key)
        return found[0]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    def get(self, key: K, /, default: object = None) -> object:
        """Return the value, or ``default``."""
        found: list[V] = self._ask("get", key)
        return found[0] if found else default

    def get_many(self, keys: Iterable[K]) -> dict[K, V]:
        """Return the values of those keys that are there, in one round trip."""
        wanted = list(keys)
        values, missing = self._ask("get_many", wanted)
        if not missing:
            return dict(zip(wanted, values, strict=True))
        gone = set(missing)
        pairs = enumerate(zip(wanted, values, strict=True))
        return {key: value for index, (key, value) in pairs if index not in gone}

    def __contains__(self, key: object) -> bool:
        """Tell whether the key is there."""
        return bool(self._ask("has", key))

    def __len__(self) -> int:
        """Return the number of records."""
        return int(self._ask("size"))

    def __iter__(self) -> Iterator[K]:
        """Walk over the keys; see :meth:`items`."""
        for key, _ in self._pairs():
            yield key

    def items(self) -> ItemsView[K, V]:
        """Walk over keys and values, a few hundred to a round trip.

        The walk is over the table as it was when it began, should its store reload meanwhile;
        what is written while it goes on may or may not be seen.
        """
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """Walk over the values, as :meth:`items` does."""
        return _Values(self)

    def __setitem__(self, key: K, value: V) -> None:
        """Put the value."""
        self._ask("put", [[key, value]])

    def __delitem__(self, key: K) -> None:
        """Delete the record, or raise ``KeyError``."""
        if not self._ask("take", key):
            raise KeyError(key)

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, default: V | D, /) -> V | D: ...
    def pop(self, key: K, /, *default: object) -> object:
        """Take the value out, atomically; raise ``KeyError`` without a default."""
        found: list[V] = self._ask("take", key)
        if found:
            return found[0]
        if default:
            return default[0]
        raise KeyError(key)

    def clear(self) -> None:
        """Delete what is there when it begins, a round trip for each record."""
        for key in list(self):
            self._ask("delete", key)

    def put_many(self, values: Mapping[K, V]) -> None:
        """Put all values, in one round trip."""
        self._ask("put", [[key, value] for key, value in values.items()])

    def put_new(self, key: K, value: V) -> bool:
        """Put the value where there is none, atomically; tell whether it was put."""
        return bool(self._ask("put_new", key, value))

    def setdefault(self, key: K, default: V) -> V:
        """Put ``default`` where there is nothing, atomically; return what is there then."""
        while not self.put_new(key, default):
            found: list[V] = self._ask("get", key)
            if found:
                return found[0]
            # Somebody deleted it in between: try again.
        return default

    def update_counter(self, key: K, by: int = 1, default: int = 0) -> int:
        """Add to an integer, atomically, and return the sum; ``default`` where there is none."""
        return int(self._ask("update_counter", key, by, default))

    def _pairs(self) -> Iterator[tuple[K, V]]:
        scan: int | None = None
        try:
            while True:
                scan, part = self._ask("scan", scan)
                yield from ((_hashable(key), value) for key, value in part)
                if scan is None:
                    return
        finally:
            if scan is not None:
                self._send_later("scan_end", (scan,))

    def _send(self, op: str, arguments: tuple[object, ...]) -> Answer | None:
        link = current.link
        if link is None:
            raise SlitherError(
                f"table {self.name!r} was used outside a worker; tables answer in code that a "
                "Slither pool runs"
            )
        return link.ask_table(current.call_id(), self.name, op, arguments)

    # The garbage collector may end a walk anywhere, where nothing may wait for an answer.
    def _send_later(self, op: str, arguments: tuple[object, ...]) -> None:
        link = current.link
        if link is not None:
            link.tell_table(current.call_id(), self.name, op, arguments)

    def _ask(self, op: str, *arguments: object) -> Payload:
        return value_of(lambda: self._send(op, arguments), self.name, _FAILURES)


class _Items(ItemsView[K, V]):
    """Items by parts, rather than a round trip for each."""

    _mapping: Table[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        """Walk over the table's pairs."""
        return self._mapping._pairs()


class _Values(ValuesView[V]):
    """Values by parts."""

    _mapping: Table[Payload, V]

    def __iter__(self) -> Iterator[V]:
        """Walk over the table's values."""
        return (value for _, value in self._mapping._pairs())


def _hashable(key: Payload) -> Payload:
    # Keys come as values, in which a tuple is a list.
    return tuple(map(_hashable, key)) if isinstance(key, list) else key
