"""The class Pipe: a description that each method extends, and that becomes a document.

It runs in the thread of whoever writes a pipe; :class:`slither.Beam` and BEAM take the document.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol, overload

from slither._errors import PipeError
from slither._options import TEXT, nearest, wrong
from slither._pipe import options as known
from slither._pipe.document import handlers, lost_target
from slither._pipe.expression import Expression, Operand
from slither._pipe.handler import BatchHandler, ItemHandler, Local, target
from slither._pipe.mistakes import caller, mistake
from slither._pipe.mistakes import name as checked_name
from slither._pipe.operand import expression_of
from slither._pipe.options import Policy, PolicyLike
from slither._pipe.options import policy as read_policy
from slither._types import Payload

if TYPE_CHECKING:
    from typing_extensions import Unpack

VERSION = 1
"""The version of the documents that :meth:`Pipe.document` makes."""

_MAX_STAGES = 1_000
_MAX_NESTING = 8


class StoreLike(Protocol):
    """What names a table: a handle of the driver, or :func:`slither.store.table`."""

    @property
    def name(self) -> str:
        """The table's name."""
        ...


class Pipe:
    """A pipe; each method returns a new one with one statement more.

    A mistake raises :class:`slither.PipeError`, at once where it can be seen at once, and in
    :meth:`document` where it takes the whole pipe; it names the file and line of the call that is
    at fault.

    >>> from slither import item
    >>> short = Pipe("short").route("by_length", long=item.len() > 9).output("long")
    >>> short
    <slither.Pipe 'short': by_length>
    """

    __slots__ = (
        "_by_value",
        "_lines",
        "_nesting",
        "_outputs",
        "_policies",
        "_stages",
        "_stores",
        "name",
    )

    def __init__(self, name: str, /, *, by_value: bool = False) -> None:
        """Begin a pipe; ``name`` is what BEAM calls it.

        ``by_value``: whether its stages take functions that workers can't import, such as
        lambdas; then only a ``slither.Beam(by_value=True)`` runs it.
        """
        if type(by_value) is not bool:
            raise mistake(f"by_value is True or False, not {by_value!r:.80}")
        self._by_value = by_value
        self.name = checked_name(name, "pipe")
        self._stages: dict[str, dict[str, Payload]] = {}
        self._outputs: tuple[str, ...] = ()
        self._stores: dict[str, str] = {}
        self._policies: dict[str, Policy] = {}
        self._lines: dict[str, str] = {}
        self._nesting = 1

    def __repr__(self) -> str:
        """Name the pipe and its stages."""
        return f"<slither.Pipe {self.name!r}: {' -> '.join(self._stages) or 'no stages'}>"

    def store(self, name: str, table: str | StoreLike | None = None, /) -> Pipe:
        """Say that the pipe's handlers use a table, which must be there when BEAM takes the pipe.

        ``name`` is what the pipe calls it; ``table`` its name on BEAM, or a handle that has one;
        the same unless given. Handlers open it with :func:`slither.store.table`.
        """
        checked_name(name, "store")
        found = (
            name if table is None else table if isinstance(table, str) else _table(name, table)
        )
        if name in self._stores:
            raise mistake(f"store {name!r} is there twice")
        return self._with(_stores={**self._stores, name: found})

    def beam(
        self,
        name: str,
        value: Operand,
        /,
        *,
        cardinality: Literal["one", "many"] = "one",
        concurrency: int = 1,
        batch: bool = False,
    ) -> Pipe:
        """Add a stage that BEAM runs.

        ``value`` is an expression, or a dict or list of them, whose value is the new payload; a
        ``str`` names a function that BEAM's configuration exposes (``functions:``). With
        ``cardinality="many"`` it gives a list, and each element becomes an item. Of functions
        alone: ``concurrency``, how many processes share the items, and ``batch``, whether it
        takes a list of those that arrive together.
        """
        options: dict[str, Payload] = {
            key: given
            for key, given, default in (
                ("cardinality", cardinality, "one"),
                ("concurrency", concurrency, 1),
                ("batch", batch, False),
            )
            if given != default or type(given) is not type(default)
        }
        self._check(name, wrong(options, known.BEAM))
        if isinstance(value, str):
            if not TEXT[1](value):
                raise mistake(f"stage {name!r}: a function's name is a str of 1 to 255 bytes")
            return self._stage(name, "beam", {"function": value}, options)
        for alone in ("concurrency", "batch"):
            if alone in options:
                raise mistake(f"stage {name!r}: {alone} goes with the name of a function")
        return self._stage(name, "beam", {"expression": expression_of(value)}, options)

    @overload
    def python(
        self,
        name: str,
        handler: BatchHandler | str,
        /,
        *,
        each: Literal[False],
        **options: Unpack[known.PythonOptions],
    ) -> Pipe: ...
    @overload
    def python(
        self,
        name: str,
        handler: ItemHandler | str | None = None,
        /,
        *,
        each: Literal[True] | None = None,
        command: str | None = None,
        **options: Unpack[known.PythonOptions],
    ) -> Pipe: ...
    def python(
        self,
        name: str,
        handler: BatchHandler | ItemHandler | str | None = None,
        /,
        *,
        each: bool | None = None,
        command: str | None = None,
        **options: Unpack[known.PythonOptions],
    ) -> Pipe:
        """Add a stage that runs a function on Python workers.

        ``handler`` is the function, or its reference, ``"module:function"``: a worker imports its
        module. It takes one item, and its exception fails that item alone; or, to be quicker, the
        list of a batch's items, and returns or yields as many results. What it takes is said by
        ``each`` (True for one item); where that is not given, by
        :func:`slither.worker.item_handler` or :func:`slither.worker.batch_handler` that mark it;
        else by its annotations: ``list[…] -> list[…]``, or to an iterator, is a list, and all
        others are one item, as with :meth:`slither.Beam.map`. In place of ``handler``,
        ``command`` is the name of a registered one.

        Options, as of a dispatch: ``batch_size``, or ``"auto"`` with
        ``batch_time``, the seconds that a batch should take (0.05), ``min_batch_size`` (1) and
        ``max_batch_size`` (1,000): it begins with one item, and is the default where Python runs
        the pipe; where Elixir does, that is 64. ``max_in_flight`` batches (8) and
        ``max_in_flight_bytes``, ``ordering`` (``"preserve"`` or ``"as_completed"``), ``isolate``
        (split a failing batch until the items at fault are alone), ``timeout``, the seconds that
        a batch may run, ``item_timeout``, those that one item may, whatever batch it is in (it
        fails alone then; a function of a list has them for each item, together),
        ``queue_timeout``, those that it may wait for a worker (None, for ever,
        unless set), ``pool``; ``cardinality="many"``, for a function that gives a list or an
        iterator of values for each item, each of which becomes an item, as with :meth:`beam`;
        ``as_``, ``"pandas"``, ``"polars"`` or ``"arrow"``, for a function that gets its batch as
        one frame whose rows are the items, and gives a frame, a column or a list with a result
        for each row;
        ``weight``, an expression, with ``max_weight`` for a batch,
        or ``key``, an expression, for batches of one key within ``window`` items (1,000).
        """
        given: dict[str, Payload] = dict(options)
        self._check(name, wrong(given, known.PYTHON) or known.needs(given))
        for expression in ("weight", "key"):
            if expression in given:
                given[expression] = expression_of(given[expression])
        return self._stage(
            name,
            "python",
            target(name, handler, each, command, options.get("as_"), by_value=self._by_value),
            known.in_ms(given),
        )

    def route(
        self, name: str, routes: Mapping[str, Operand] | None = None, /, **more: Operand
    ) -> Pipe:
        """Add a stage that sends items to outputs: ``route("r", accept=item["score"] > 1)``.

        Each name is an output or a later stage, each value an expression that is True for the
        items that go there; the first that is takes the item, and the others go on. ``routes`` is
        a dict for names that are no keywords.
        """
        pairs = [*(routes or {}).items(), *more.items()]
        if not pairs:
            raise mistake(f"stage {name!r}: a router needs a route, as in accept=item['n'] > 1")
        if len({to for to, _ in pairs}) < len(pairs):
            raise mistake(f"stage {name!r}: a route is there twice; join its conditions with |")
        for to, when in pairs:
            checked_name(to, "output")
            if not isinstance(when, Expression | bool):
                raise mistake(
                    f"stage {name!r}: the route to {to!r} takes an expression that is True or "
                    f"False, got {when!r:.80}"
                )
        described = [{"when": expression_of(when), "to": to} for to, when in pairs]
        return self._stage(name, "router", {"routes": described})

    def batch(self, name: str, /, *, size: int = 100, timeout: float | None = None) -> Pipe:
        """Add a stage that makes one item of ``size``: its payload is the list of theirs.

        After ``timeout`` seconds since its first item a group goes on as it is.
        """
        options: dict[str, Payload] = {"size": size, "timeout": timeout}
        self._check(name, wrong(options, known.BATCH))
        return self._stage(name, "batch", {}, known.in_ms(options))

    def pipe(self, name: str, inner: Pipe, /, outputs: Mapping[str, str] | None = None) -> Pipe:
        """Add a pipe as a stage.

        What ends in its ``default`` goes on. Its other outputs are mapped to this pipe's by
        ``outputs``, or have the same name.
        """
        if not isinstance(inner, Pipe):
            raise mistake(f"stage {name!r} takes a Pipe, got {inner!r:.80}")
        given = dict(outputs or {})
        for one, other in given.items():
            if one not in inner._outputs:
                near = nearest(str(one), inner._outputs)
                raise mistake(f"stage {name!r}: pipe {inner.name!r} has no output {one!r}.{near}")
            checked_name(other, "output")
        nesting = max(self._nesting, inner._nesting + 1)
        if nesting > _MAX_NESTING:
            raise mistake(f"pipes nest deeper than {_MAX_NESTING}")
        made = self._stage(name, "pipe", {"pipe": inner._whole(), "outputs": given})
        return made._with(_nesting=nesting)

    def output(self, *names: str) -> Pipe:
        """Declare outputs; ``default`` is always there."""
        for index, name in enumerate(names):
            checked_name(name, "output")
            if name in self._outputs or name in names[:index]:
                raise mistake(f"output {name!r} is there twice")
            if name in self._stages:
                raise mistake(f"{name!r} is a stage and an output")
        return self._with(_outputs=(*self._outputs, *names))

    def on_error(self, stage: str, policy: PolicyLike, /) -> Pipe:
        """Say what becomes of items that fail in a stage above, or with ``"*"`` in all others.

        ``policy`` is ``"halt"`` (the default), ``"skip"``, :func:`route` or :func:`retry`.
        """
        if stage != "*" and stage not in self._stages:
            near = nearest(str(stage), self._stages)
            known = ", ".join(map(repr, self._stages)) or "none yet"
            raise mistake(f"on_error: no stage {stage!r}.{near} Stages: {known}, and '*'")
        if stage in self._policies:
            raise mistake(f"on_error {stage!r} is there twice")
        try:
            read = read_policy(policy)
        except PipeError as error:
            raise mistake(f"on_error {stage!r}: {error.reason}") from None
        made = self._with(_policies={**self._policies, stage: read})
        made._lines[f"on_error {stage!r}"] = caller()
        return made

    def document(self) -> dict[str, Payload]:
        """Return the pipe as plain data, as ``protocol/PROTOCOL.md`` describes it.

        Raises :class:`slither.PipeError` for what only the whole shows: a pipe without stages, a
        route to an output that is not declared.

        >>> Pipe("p").batch("pairs", size=2).document()["stages"]
        [{'name': 'pairs', 'type': 'batch', 'options': {'size': 2, 'timeout': None}}]
        """
        document = self._whole()
        for handler in handlers(document):
            if isinstance(handler.name, Local):
                raise mistake(
                    f"stage {handler.stage!r} runs {handler.name}, which goes by value: only a "
                    "slither.Beam(by_value=True) runs this pipe"
                )
        return document

    def _whole(self) -> dict[str, Payload]:
        if not self._stages:
            raise mistake(f"pipe {self.name!r} has no stages")
        document: dict[str, Payload] = {
            "version": VERSION,
            "name": self.name,
            "stages": list(self._stages.values()),
            "outputs": list(self._outputs),
        }
        if self._stores:
            document["stores"] = [
                {"name": name, "table": table} for name, table in self._stores.items()
            ]
        if self._policies:
            document["on_error"] = [
                {"stage": stage, "policy": chosen.document}
                for stage, chosen in self._policies.items()
            ]
        if (lost := lost_target(document)) is not None:
            statement, reason = lost
            raise PipeError(reason, self._lines.get(statement))
        return copy.deepcopy(document)

    def _stage(
        self,
        name: str,
        kind: str,
        fields: dict[str, Payload],
        options: dict[str, Payload] | None = None,
    ) -> Pipe:
        self._check(name, None)
        stage: dict[str, Payload] = {"name": name, "type": kind, **fields}
        if options:
            stage["options"] = options
        made = self._with(_stages={**self._stages, name: stage})
        made._lines[f"stage {name!r}"] = caller()
        return made

    def _check(self, name: str, wrong_option: str | None) -> None:
        checked_name(name, "stage")
        if wrong_option is not None:
            raise mistake(f"stage {name!r}: {wrong_option}")
        if name == "default":
            raise mistake("'default' is an output; a stage needs another name")
        if name in self._stages:
            raise mistake(f"stage {name!r} is there twice")
        if name in self._outputs:
            raise mistake(f"{name!r} is a stage and an output")
        if len(self._stages) >= _MAX_STAGES:
            raise mistake(f"a pipe has at most {_MAX_STAGES:,} stages")

    def _with(self, **changes: Payload) -> Pipe:
        made = Pipe.__new__(Pipe)
        for slot in Pipe.__slots__:
            setattr(made, slot, changes.get(slot, getattr(self, slot)))
        made._lines = dict(self._lines)
        return made


def _table(name: str, table: StoreLike) -> str:
    found = getattr(table, "name", None)
    if not isinstance(found, str) or not found:
        raise mistake(f"store {name!r} takes a table's name or its handle, got {table!r:.80}")
    return found
