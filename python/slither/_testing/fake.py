"""BEAM's answers to a handler, given by a test.

It stands in for a worker's connection, in the process and mostly in the thread of the test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from slither._errors import SlitherError
from slither._types import Payload
from slither._wire.codec import decode, encode
from slither._wire.frames import Answer
from slither._words import said
from slither._worker import counting, current

if TYPE_CHECKING:
    from slither._worker.ports import Connection

View = Callable[["Payload"], "Payload"]


class FakeBeam:
    """Stands in for BEAM while it is entered: views, tables, progress and cancels.

    Arguments: ``views``, functions of one argument by name; ``tables``, dicts by name, which
    handlers see as :func:`slither.store.table` and change in place. Keys and values cross as they
    do to BEAM and back: what can't be sent fails, and an object with fields comes as a dict.

    ``asked`` lists the view calls, ``reported`` the progress, ``logged`` what was logged, and
    ``held`` the runs that got state from :func:`slither.worker.session`; ``cancelled`` is what
    :func:`slither.worker.cancelled` says. ``metrics`` is what was counted with
    :mod:`slither.metrics`, as its ``read()`` gives it.

    >>> from slither import store, views
    >>> with FakeBeam(views={"double": lambda n: 2 * n}, tables={"features": {"a": 1}}) as beam:
    ...     store.table("features")["b"] = views.call("double", 4)
    >>> beam.tables["features"], beam.asked
    ({'a': 1, 'b': 8}, [('double', 4)])
    """

    def __init__(
        self,
        views: Mapping[str, View] | None = None,
        tables: Mapping[str, dict[Payload, Payload]] | None = None,
    ) -> None:
        """Take the views and the tables."""
        self.views = dict(views or {})
        self.tables = dict(tables or {})
        self.asked: list[tuple[str, Payload]] = []
        self.reported: list[tuple[int, int | None]] = []
        self.held: list[str] = []
        self.logged: list[tuple[str, str]] = []
        self.cancelled = False
        self._before: Connection | None = None
        self._book = counting.Book()

    def __enter__(self) -> FakeBeam:
        """Take BEAM's place."""
        self._before = current.link
        current.link = self
        self._book, counting.book = counting.book, self._book
        return self

    def __exit__(self, *_error: object) -> None:
        """Give the place back."""
        current.link = self._before
        self._book, counting.book = counting.book, self._book

    @property
    def metrics(self) -> dict[str, float]:
        """What was counted while it was entered."""
        return counting.shown(counting.book if current.link is self else self._book)

    ## What a worker's connection offers

    def ask_view(
        self, call: int, name: str, mode: int, params: Payload, timeout: int | None
    ) -> Answer:
        """Answer as a view does."""
        view = self.views.get(name)
        given = decode(encode(params, "params"))
        calls = given if mode else [given]
        self.asked += [(name, one) for one in calls]
        if view is None:
            known = ", ".join(sorted(self.views)) or "none"
            return _fault("unknown_view", f"no view {name!r}. Known views: {known}")
        try:
            answers = [view(one) for one in calls]
            value = decode(encode(answers if mode else answers[0], "the answer"))
        except Exception as error:  # noqa: BLE001 - the test's own code, as BEAM would tell of it
            return _fault("view_failed", f"view {name!r} failed: {said(error)}")
        return 0, value

    def ask_table(self, call: int, table: str, op: str, arguments: tuple[Payload, ...]) -> Answer:
        """Answer as a table does."""
        rows = self.tables.get(table)
        given = decode(encode(list(arguments), op))
        if rows is None:
            known = ", ".join(sorted(self.tables)) or "none"
            return _fault(
                "unknown_table", f"no table is declared for Python so. Declared: {known}"
            )
        try:
            return 0, decode(encode(_OPERATIONS[op](rows, *given)))
        except SlitherError as error:
            return _fault("table_failed", str(error))

    def tell_table(self, call: int, table: str, op: str, arguments: tuple[Payload, ...]) -> None:
        """Do nothing: what nobody waits for changes no row."""

    def log(
        self,
        call: int,
        level: str,
        logger: str,
        message: str,
        facts: dict[str, Payload] | None = None,
    ) -> None:
        """Keep a log line."""
        self.logged.append((level, message))

    def progress(self, call: int, done: int, total: int | None) -> None:
        """Keep a report."""
        self.reported.append((done, total))

    def tell(self, body: bytes) -> None:
        """Take a frame of which nobody is to hear."""

    def hold(self, call: int, run: str) -> None:
        """Keep the name of a run that has state."""
        self.held.append(run)

    def is_cancelled(self, call: int) -> bool:
        """Say what the test says."""
        return self.cancelled


def _fault(kind: str, message: str) -> Answer:
    return 1, {"kind": kind, "message": message}


def _key(key: Payload) -> Payload:
    return tuple(map(_key, key)) if isinstance(key, list) else key


def _get_many(rows: dict[Payload, Payload], keys: list[Payload]) -> list[Payload]:
    found = [rows.get(_key(key)) for key in keys]
    return [found, [index for index, key in enumerate(keys) if _key(key) not in rows]]


def _put_new(rows: dict[Payload, Payload], key: Payload, value: Payload) -> bool:
    new = _key(key) not in rows
    rows.setdefault(_key(key), value)
    return new


def _count(rows: dict[Payload, Payload], key: Payload, by: int, default: int) -> int:
    now = rows.get(_key(key), default)
    if type(now) is not int:
        raise SlitherError(f"key {key!r} holds {now!r}, which is no counter")
    rows[_key(key)] = now + by
    return now + by


_OPERATIONS: dict[str, Callable[..., Payload]] = {
    "get": lambda rows, key: [rows[_key(key)]] if _key(key) in rows else [],
    "get_many": _get_many,
    "has": lambda rows, key: _key(key) in rows,
    "size": len,
    "scan": lambda rows, _scan: [None, [[key, value] for key, value in rows.items()]],
    "scan_end": lambda rows, _scan: None,
    "take": lambda rows, key: [rows.pop(_key(key))] if _key(key) in rows else [],
    "put": lambda rows, pairs: rows.update({_key(key): value for key, value in pairs}),
    "put_new": _put_new,
    "delete": lambda rows, key: rows.pop(_key(key), None) and None,
    "update_counter": _count,
}
