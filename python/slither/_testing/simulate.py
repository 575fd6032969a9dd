"""A pipe's document run in Python, for :func:`slither.testing.run_pipe`.

The thread of the test runs it, stage by stage, each on all that has come to it. The documents of
``protocol/vectors/pipes.json`` give the same here as on BEAM.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias, TypeVar, cast

from slither._errors import CallError, RunError, SlitherError
from slither._outputs import Outputs, why
from slither._pipe.handler import Local
from slither._takes import takes
from slither._testing.evaluate import EvaluationError, SkipItem, evaluate
from slither._testing.policy import Policy, as_told, facts, is_splittable
from slither._types import Payload
from slither._wire.codec import decode, encode
from slither._worker.targets import TargetError, resolve

T = TypeVar("T")
Document: TypeAlias = dict[str, "Payload"]
Handler: TypeAlias = Callable[..., object]


class _Entry(NamedTuple):
    """An item: where it comes in the input, and in each list that it was a part of."""

    seq: tuple[int, ...]
    payload: Payload


Moves: TypeAlias = Iterator[tuple[_Entry, "str | None"]]
"""Entries that leave a stage, each with where it goes if not on."""


class _Halt(NamedTuple):
    seq: tuple[int, ...]
    stage: str
    error: Exception
    item: int | None


class Simulation:
    """One run of a document."""

    def __init__(
        self,
        document: Document,
        call: Callable[..., list[Payload]],
        functions: Mapping[str, Callable[..., Payload]],
        handlers: Mapping[str, Handler],
    ) -> None:
        self._name: str = document["name"]
        self._stages: list[Document] = document["stages"]
        self._call, self._functions, self._handlers = call, functions, handlers
        self._policies = {e["stage"]: e["policy"] for e in document.get("on_error", ())}
        self._outputs = [*document["outputs"], "default"]
        # What has come to each stage and output, by name.
        self._at: dict[str, list[_Entry]] = {
            name: [] for name in (*(stage["name"] for stage in self._stages), *self._outputs)
        }
        self._errors: dict[str, dict[tuple[int, ...], Exception]] = {}
        self._halt: _Halt | None = None

    def run(self, items: Iterable[Payload]) -> Outputs:
        """Run the items through; RunError with what came before where one stops the run."""
        sent = (decode(encode(item, f"items[{place}]")) for place, item in enumerate(items))
        self._run_stages([_Entry((place,), item) for place, item in enumerate(sent)])
        outputs = Outputs(self._outputs)
        for name in self._outputs:
            entries = sorted(self._at[name], key=lambda entry: entry.seq)
            outputs[name] = [entry.payload for entry in entries]
            failed = self._errors.get(name, {})
            if failed:
                outputs.errors[name] = {
                    place: failed[entry.seq]
                    for place, entry in enumerate(entries)
                    if entry.seq in failed
                }
        if self._halt is not None:
            _seq, stage, error, item = self._halt
            raise RunError(why(self._name, stage, item, error), dict(outputs)) from error
        return outputs

    def _run_stages(self, entries: list[_Entry]) -> None:
        names = [stage["name"] for stage in self._stages]
        self._at[names[0]] = entries
        for stage, after in zip(self._stages, [*names[1:], "default"], strict=True):
            here = sorted(self._at[stage["name"]], key=lambda entry: entry.seq)
            run = getattr(self, f"_{stage['type']}")
            for entry, to in run(stage, list(filter(self._goes_on, here))):
                if self._goes_on(entry):
                    self._at[after if to is None else to].append(entry)

    def _goes_on(self, entry: _Entry) -> bool:
        return self._halt is None or entry.seq < self._halt.seq

    ## Stages

    def _beam(self, stage: Document, entries: list[_Entry]) -> Moves:
        options = stage.get("options", {})
        many = options.get("cardinality") == "many"
        function = self._function(stage) if "function" in stage else None
        if function is not None and options.get("batch", False):
            if many:
                raise SlitherError(
                    f"stage {stage['name']!r}: run_pipe runs no function that has both batch and "
                    "cardinality='many'; beam.run does"
                )
            if entries:
                yield from self._tried(stage, entries, function, 0, False)
            return
        for entry in entries:
            try:
                if function is not None:
                    value = function(entry.payload)
                else:
                    value = evaluate(stage["expression"], entry.payload)
                if many and not isinstance(value, list):
                    raise _not_many(stage, value)
            except SkipItem:
                continue
            except Exception as error:  # noqa: BLE001 - for the policy to say
                yield from self._failed(stage, entry, as_told(error))
                continue
            if many:
                for place, part in enumerate(value):
                    yield _Entry((*entry.seq, place), part), None
            else:
                yield _Entry(entry.seq, value), None

    def _python(self, stage: Document, entries: list[_Entry]) -> Moves:
        options = stage.get("options", {})
        handler, each = _handler(stage, self._handlers.get(stage["name"]))
        if "weight" in options:
            weighed = yield from self._measured(stage, "weight", entries)
            batches = _weighted(weighed, options["max_weight"])
        elif "key" in options:
            keyed = yield from self._measured(stage, "key", entries)
            batches = _keyed(keyed, options.get("window", 1_000))
        else:
            size = options.get("batch_size", 64)
            batches = _parts(entries, 64 if size == "auto" else size)
        for number, batch in enumerate(batches):
            yield from self._tried(stage, batch, handler, number, each)

    def _router(self, stage: Document, entries: list[_Entry]) -> Moves:
        for entry in entries:
            try:
                yield entry, self._route(stage, entry)
            except EvaluationError as error:
                yield from self._failed(stage, entry, as_told(error))

    def _route(self, stage: Document, entry: _Entry) -> str | None:
        for route in stage["routes"]:
            chosen = evaluate(route["when"], entry.payload)
            if type(chosen) is not bool:
                raise EvaluationError("type", route["when"], "a route is True or False")
            if chosen:
                return str(route["to"])
        return None

    def _batch(self, stage: Document, entries: list[_Entry]) -> Moves:
        for group in _parts(entries, stage.get("options", {}).get("size", 100)):
            yield _Entry(group[0].seq, [entry.payload for entry in group]), None

    def _pipe(self, stage: Document, entries: list[_Entry]) -> Moves:
        inner = Simulation(stage["pipe"], self._call, self._functions, self._handlers)
        inner._run_stages(entries)
        if inner._halt is not None:
            self._stop(inner._halt._replace(stage=f"{stage['name']}.{inner._halt.stage}"))
        mapped = stage.get("outputs", {})
        for name in inner._outputs:
            to = None if name == "default" else mapped.get(name, name)
            for entry in inner._at[name]:
                if error := inner._errors.get(name, {}).get(entry.seq):
                    self._errors.setdefault(to or "default", {})[entry.seq] = error
                yield entry, to

    def _function(self, stage: Document) -> Callable[..., Payload]:
        name = stage["function"]
        if name not in self._functions:
            where = f"stage {stage['name']!r} runs BEAM's function {name!r}"
            raise RunError(f"{where}: give one in its place, functions={{{name!r}: …}}")
        return self._functions[name]

    def _measured(
        self, stage: Document, measure: str, entries: list[_Entry]
    ) -> Generator[tuple[_Entry, str | None], None, list[tuple[_Entry, Payload]]]:
        # Yields the outcomes of items that can't be measured, and returns the other items.
        expression = stage["options"][measure]
        measured: list[tuple[_Entry, Payload]] = []
        for entry in entries:
            try:
                value = evaluate(expression, entry.payload)
                if measure == "weight" and not (type(value) in (int, float) and value >= 0):
                    raise EvaluationError("type", expression, "a weight is a number of 0 or more")
            except EvaluationError as error:
                yield from self._failed(stage, entry, as_told(error))
            else:
                measured.append((entry, value))
        return measured

    def _tried(
        self,
        stage: Document,
        batch: list[_Entry],
        handler: Handler,
        number: int,
        each: bool | None,
    ) -> Moves:
        options = stage.get("options", {})
        isolate = options.get("isolate", False)
        many = stage["type"] == "python" and options.get("cardinality") == "many"
        policy = self._policy(stage)
        waiting = [(batch, 1)]
        while waiting:
            batch, attempt = waiting.pop(0)
            place = {"pipe": self._name, "stage": stage["name"], "batch": number}
            more: Document = {"many": True} if many else {}
            if "as" in options:
                more["as_"] = options["as"]
            alone = True
            try:
                payloads = [entry.payload for entry in batch]
                results = self._call(
                    handler, payloads, each=each, attempt=attempt, **place, **more
                )
            except Exception as error:  # noqa: BLE001 - for the policy to say
                if isolate and len(batch) > 1 and is_splittable(error):
                    half = len(batch) // 2
                    waiting[:0] = [(batch[:half], attempt), (batch[half:], attempt)]
                    continue
                results = [error] * len(batch)
                # BEAM names no item where a batch of several failed as a whole.
                alone = len(batch) == 1
            again = []
            if many and not isinstance(results[0], Exception):
                batch, results = yield from self._parted(stage, batch, results, attempt)
            for entry, result in zip(batch, results, strict=True):
                if not isinstance(result, Exception):
                    yield _Entry(entry.seq, result), None
                elif policy.tries_again(attempt, result):
                    again.append(entry)
                else:
                    yield from self._failed(stage, entry, result, attempt, alone)
            if again:
                waiting.insert(0, (again, attempt + 1))

    def _parted(
        self, stage: Document, batch: list[_Entry], results: list[Payload], attempt: int
    ) -> Generator[tuple[_Entry, str | None], None, tuple[list[_Entry], list[Payload]]]:
        # Yields each value of the items; returns the items that failed before they gave any.
        failed: list[_Entry] = []
        errors: list[Payload] = []
        for entry, values in zip(batch, results, strict=True):
            for place, value in enumerate(values):
                here = _Entry((*entry.seq, place), value)
                if not isinstance(value, Exception):
                    yield here, None
                elif place == 0:
                    failed.append(entry)
                    errors.append(value)
                else:
                    # What has given values is not tried again, and stands behind them.
                    behind = here._replace(payload=entry.payload)
                    yield from self._failed(stage, behind, value, attempt)
        return failed, errors

    ## Errors

    def _policy(self, stage: Document) -> Policy:
        return Policy(self._policies.get(stage["name"], self._policies.get("*", "halt")))

    def _failed(
        self,
        stage: Document,
        entry: _Entry,
        error: Exception,
        attempts: int = 1,
        alone: bool = True,
    ) -> Moves:
        last = self._policy(stage).last
        if last == "skip":
            return
        if last == "halt":
            item = entry.seq[0] if alone else None
            self._stop(_Halt(entry.seq, stage["name"], error, item))
            return
        to = last["route"]
        if not isinstance(to, str):
            try:
                to = evaluate(to, entry.payload, facts(error, attempts))
            except EvaluationError as failure:
                to = str(failure)
        names = [one["name"] for one in self._stages]
        later = names[names.index(stage["name"]) + 1 :]
        if not isinstance(to, str) or to not in (*self._outputs, *later):
            wrong = f"the error policy routed to {to!r}, which is not declared"
            fault = CallError(wrong, {"kind": "unknown_output"})
            fault.__cause__ = error
            self._stop(_Halt(entry.seq, stage["name"], fault, entry.seq[0]))
            return
        if to in self._outputs:
            self._errors.setdefault(to, {})[entry.seq] = error
        yield entry, to

    def _stop(self, halt: _Halt) -> None:
        if self._halt is None or halt.seq < self._halt.seq:
            self._halt = halt
        for entries in self._at.values():
            entries[:] = filter(self._goes_on, entries)


def _handler(stage: Document, instead: Handler | None) -> tuple[Handler, bool | None]:
    """Return what runs a stage, and what it takes, as ``each`` of ``run_handler``."""
    each = {"list": False, "item": True}.get(stage.get("takes", "list"))
    own, lost = _own(stage)
    handler = instead or own
    if takes(handler).why in ("item_handler", "batch_handler"):
        # A mark tells of itself, but not what was said against it.
        return handler, None if instead or not each else each
    if instead is None and lost:
        each = False
    if instead is not None and each is None and not lost:
        each = takes(own).what == "item"
    return handler, each


def _own(stage: Document) -> tuple[Handler, bool]:
    # What a stage names, and whether that can't be found.
    if isinstance(local := stage.get("function"), Local):
        return cast("Handler", local.handler), False
    named = ["command", stage["command"]] if "command" in stage else None
    try:
        return resolve(named or ["function", stage["module"], stage["function"]]), False
    except TargetError as error:
        lost = CallError(str(error), {"kind": "import_failed"})

    def fail(_items: list[Payload]) -> list[Payload]:
        # A handler that a worker can't find fails its batches, under the stage's policy.
        raise lost

    return fail, True


def _parts(entries: list[T], size: int) -> Iterator[list[T]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


def _weighted(measured: list[tuple[_Entry, Payload]], most: float) -> Iterator[list[_Entry]]:
    batch: list[_Entry] = []
    total = 0
    for entry, weight in measured:
        if batch and total + weight > most:
            yield batch
            batch, total = [], 0
        batch.append(entry)
        total += weight
    if batch:
        yield batch


def _keyed(measured: list[tuple[_Entry, Payload]], window: int) -> Iterator[list[_Entry]]:
    for part in _parts(measured, window):
        batches: dict[bytes, list[_Entry]] = {}
        for entry, key in part:
            # Keys are compared as bytes, since BEAM takes 1, 1.0 and True for three keys.
            batches.setdefault(encode(key), []).append(entry)
        yield from batches.values()


def _not_many(stage: Document, value: Payload) -> Exception:
    if "expression" in stage:
        return EvaluationError("type", stage["expression"], "many items need a list")
    name = type(value).__name__
    return CallError(f"many items need a list, not a {name}", {"kind": "invalid_return"})
