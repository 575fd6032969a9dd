"""A pipe's document run in Python, stage by stage, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from slither._driver.pipe_run import Outputs
from slither._errors import CallError, EncodeError, HandlerError, RunError, SlitherError
from slither._pipe.evaluate import EvaluationError, SkipItem, evaluate
from slither._wire.codec import decode, encode
from slither._worker.execute import TargetError, resolve

if TYPE_CHECKING:
    from slither._types import Payload

Seq = tuple[int, ...]

_NONE = object()
# As BEAM has them: what a second attempt can't mend, and what a smaller batch may.
_FINAL = frozenset(
    ("not_encodable", "missing_option", "unknown_pool", "unknown_command", "import_failed")
) | frozenset(("expression", "session_lost"))
_SPLITTABLE = frozenset(
    ("python_exception", "wrong_result", "timeout", "worker_died", "executor_failed")
) | frozenset(("too_large", "not_decodable", "python_error"))


class _Entry(NamedTuple):
    seq: Seq
    payload: Payload


class _Halted(Exception):
    def __init__(self, seq: Seq, stage: str, error: Exception, item: int | None) -> None:
        super().__init__(str(error))
        self.seq, self.stage, self.error, self.item = seq, stage, error, item


class Simulation:
    """One run of a document."""

    def __init__(
        self,
        document: dict[str, Payload],
        call: Callable[..., list[Payload]],
        functions: Mapping[str, Callable[..., Payload]],
        handlers: Mapping[str, Callable[..., object]],
    ) -> None:
        """Take the document, what runs a batch, and what stands in for what is elsewhere."""
        self._document = document
        self._call = call
        self._functions, self._handlers = functions, handlers
        self._stages = document["stages"]
        self._policies = {e["stage"]: e["policy"] for e in document.get("on_error", ())}
        self._inputs: dict[str, list[_Entry]] = {stage["name"]: [] for stage in self._stages}
        self._outputs: dict[str, list[_Entry]] = {
            name: [] for name in (*document["outputs"], "default")
        }
        self._errors: dict[str, dict[Seq, Exception]] = {}
        self._halt: _Halted | None = None

    def run(self, items: Iterable[Payload]) -> Outputs:
        """Run the items through; RunError with what came before where one stops the run."""
        first = self._stages[0]["name"]
        for position, item in enumerate(items):
            self._inputs[first].append(
                _Entry((position,), decode(encode(item, f"items[{position}]")))
            )
        self.stages()
        outputs = Outputs(list(self._outputs)[:-1])
        for name, entries in self._outputs.items():
            entries.sort(key=lambda entry: entry.seq)
            outputs[name] = [entry.payload for entry in entries]
            failed = self._errors.get(name, {})
            if failed:
                outputs.errors[name] = {
                    place: failed[entry.seq]
                    for place, entry in enumerate(entries)
                    if entry.seq in failed
                }
        if self._halt is not None:
            halt = self._halt
            where = f"pipe {self._document['name']!r}, stage {halt.stage!r}"
            if halt.item is not None:
                where += f", item {halt.item}"
            kind = (
                "" if isinstance(halt.error, SlitherError) else f"{type(halt.error).__name__}: "
            )
            raise RunError(f"{where}: {kind}{halt.error}", dict(outputs)) from halt.error
        return outputs

    def stages(self) -> None:
        """Run each stage on all that has come to it."""
        for index, stage in enumerate(self._stages):
            entries = sorted(self._inputs[stage["name"]], key=lambda entry: entry.seq)
            after = (
                self._stages[index + 1]["name"] if index + 1 < len(self._stages) else "default"
            )
            run = getattr(self, f"_{stage['type']}")
            for entry, to in run(stage, [entry for entry in entries if self._goes_on(entry)]):
                self._send(after if to is None else to, entry)

    def _goes_on(self, entry: _Entry) -> bool:
        return self._halt is None or entry.seq < self._halt.seq

    def _send(self, to: str, entry: _Entry) -> None:
        if self._goes_on(entry):
            (self._inputs.get(to) or self._place(to)).append(entry)

    def _place(self, to: str) -> list[_Entry]:
        return self._inputs[to] if to in self._inputs else self._outputs[to]

    ## Stages: each gives entries, with where they go if not on

    def _beam(
        self, stage: dict[str, Payload], entries: list[_Entry]
    ) -> Iterator[tuple[_Entry, str | None]]:
        many = stage.get("options", {}).get("cardinality") == "many"
        whole = stage.get("options", {}).get("batch", False)
        function = self._function(stage) if "function" in stage else None
        if function is not None and whole:
            if many:
                raise SlitherError(
                    f"stage {stage['name']!r}: run_pipe runs no function that has both batch and "
                    "cardinality='many'; beam.run does"
                )
            yield from self._batches(stage, entries, len(entries) or 1, function)
            return
        for entry in entries:
            try:
                if function is not None:
                    value = function(entry.payload)
                else:
                    value = evaluate(stage["expression"], entry.payload)
            except SkipItem:
                continue
            except Exception as error:  # noqa: BLE001 - for the policy to say
                yield from self._failed(stage, entry, _expression(error), 1)
                continue
            if many and not isinstance(value, list):
                wrong = _not_many(stage, value)
                yield from self._failed(stage, entry, wrong, 1)
            elif many:
                for place, part in enumerate(value):
                    yield _Entry((*entry.seq, place), part), None
            else:
                yield _Entry(entry.seq, value), None

    def _python(
        self, stage: dict[str, Payload], entries: list[_Entry]
    ) -> Iterator[tuple[_Entry, str | None]]:
        options = stage.get("options", {})
        size = options.get("batch_size", 64)
        handler = self._handlers.get(stage["name"]) or _handler(stage)
        measure = options.get("weight", options.get("key", _NONE))
        if measure is _NONE:
            yield from self._batches(stage, entries, 64 if size == "auto" else size, handler)
            return
        measured: list[tuple[_Entry, Payload]] = []
        for entry in entries:
            try:
                value = evaluate(measure, entry.payload)
                if "weight" in options and not _is_weight(value):
                    raise EvaluationError("type", measure, "a weight is a number of 0 or more")
            except EvaluationError as error:
                yield from self._failed(stage, entry, _expression(error), 1)
            else:
                measured.append((entry, value))
        if "weight" in options:
            batches = _weighted(measured, options["max_weight"])
        else:
            batches = _keyed(measured, options.get("window", 1_000))
        for number, batch in enumerate(batches):
            yield from self._tried(stage, batch, handler, number)

    def _router(
        self, stage: dict[str, Payload], entries: list[_Entry]
    ) -> Iterator[tuple[_Entry, str | None]]:
        for entry in entries:
            try:
                for route in stage["routes"]:
                    chosen = evaluate(route["when"], entry.payload)
                    if type(chosen) is not bool:
                        raise EvaluationError("type", route["when"], "a route is True or False")
                    if chosen:
                        yield entry, route["to"]
                        break
                else:
                    yield entry, None
            except EvaluationError as error:
                yield from self._failed(stage, entry, _expression(error), 1)

    def _batch(
        self, stage: dict[str, Payload], entries: list[_Entry]
    ) -> Iterator[tuple[_Entry, str | None]]:
        size = stage.get("options", {}).get("size", 100)
        for start in range(0, len(entries), size):
            group = entries[start : start + size]
            yield _Entry(group[0].seq, [entry.payload for entry in group]), None

    def _pipe(
        self, stage: dict[str, Payload], entries: list[_Entry]
    ) -> Iterator[tuple[_Entry, str | None]]:
        inner = Simulation(stage["pipe"], self._call, self._functions, self._handlers)
        inner._inputs[inner._stages[0]["name"]] = entries
        inner.stages()
        if inner._halt is not None:
            inner._halt.stage = f"{stage['name']}.{inner._halt.stage}"
            self._stop(inner._halt)
        mapped = stage.get("outputs", {})
        for name, found in inner._outputs.items():
            to = None if name == "default" else mapped.get(name, name)
            for entry in found:
                if error := inner._errors.get(name, {}).get(entry.seq):
                    self._errors.setdefault(to or "default", {})[entry.seq] = error
                yield entry, to

    def _batches(
        self,
        stage: dict[str, Payload],
        entries: list[_Entry],
        size: int,
        handler: Callable[..., object],
    ) -> Iterator[tuple[_Entry, str | None]]:
        source = iter(entries)
        number = 0
        while batch := list(islice(source, size)):
            yield from self._tried(stage, batch, handler, number)
            number += 1

    def _tried(
        self,
        stage: dict[str, Payload],
        batch: list[_Entry],
        handler: Callable[..., object],
        number: int,
    ) -> Iterator[tuple[_Entry, str | None]]:
        isolate = stage.get("options", {}).get("isolate", False)
        retry = _retry(self._policy(stage))
        facts = {"pipe": self._document["name"], "stage": stage["name"]}
        waiting = [(batch, 1)]
        while waiting:
            batch, attempt = waiting.pop(0)
            payloads = [entry.payload for entry in batch]
            alone = True
            try:
                results = self._call(handler, payloads, batch=number, attempt=attempt, **facts)
            except Exception as error:  # noqa: BLE001 - for the policy to say
                if isolate and len(batch) > 1 and _reason(error) in _SPLITTABLE:
                    half = len(batch) // 2
                    waiting[:0] = [(batch[:half], attempt), (batch[half:], attempt)]
                    continue
                results = [error] * len(batch)
                # BEAM names no item where a batch of several failed as a whole.
                alone = len(batch) == 1
            failed = []
            for entry, result in zip(batch, results, strict=True):
                if not isinstance(result, Exception):
                    yield _Entry(entry.seq, result), None
                elif _is_tried_again(retry, attempt, result):
                    failed.append(entry)
                else:
                    yield from self._failed(stage, entry, result, attempt, alone)
            if failed:
                waiting.insert(0, (failed, attempt + 1))

    ## Errors

    def _policy(self, stage: dict[str, Payload]) -> Payload:
        return self._policies.get(stage["name"], self._policies.get("*", "halt"))

    def _failed(
        self,
        stage: dict[str, Payload],
        entry: _Entry,
        error: Exception,
        attempts: int,
        alone: bool = True,
    ) -> Iterator[tuple[_Entry, str | None]]:
        policy = self._policy(stage)
        if isinstance(policy, dict) and "retry" in policy:
            policy = policy["retry"].get("then", "halt")
        if policy == "skip":
            return
        if policy == "halt":
            item = entry.seq[0] if alone else None
            self._stop(_Halted(entry.seq, stage["name"], error, item))
            return
        to = policy["route"]
        if not isinstance(to, str):
            try:
                to = evaluate(to, entry.payload, _facts(error, attempts))
            except EvaluationError as failure:
                to = str(failure)
        if not isinstance(to, str) or to not in (*self._outputs, *self._after(stage)):
            wrong = f"the error policy routed to {to!r}, which is not declared"
            fault = CallError(wrong, {"kind": "unknown_output"})
            fault.__cause__ = error
            self._stop(_Halted(entry.seq, stage["name"], fault, entry.seq[0]))
            return
        if to in self._outputs:
            self._errors.setdefault(to, {})[entry.seq] = error
        yield entry, to

    def _after(self, stage: dict[str, Payload]) -> list[str]:
        names = [one["name"] for one in self._stages]
        return names[names.index(stage["name"]) + 1 :]

    def _stop(self, halt: _Halted) -> None:
        if self._halt is None or halt.seq < self._halt.seq:
            self._halt = halt
        for places in (self._inputs, self._outputs):
            for entries in places.values():
                entries[:] = [entry for entry in entries if self._goes_on(entry)]

    def _function(self, stage: dict[str, Payload]) -> Callable[..., Payload]:
        name = stage["function"]
        if name not in self._functions:
            where = f"stage {stage['name']!r} runs BEAM's function {name!r}"
            raise RunError(f"{where}: give one in its place, functions={{{name!r}: …}}")
        return self._functions[name]


def _handler(stage: dict[str, Payload]) -> Callable[..., object]:
    named = ["command", stage["command"]] if "command" in stage else None
    try:
        return resolve(named or ["function", stage["module"], stage["function"]])
    except TargetError as error:
        lost = CallError(str(error), {"kind": "import_failed"})

    def fail(_items: list[Payload]) -> list[Payload]:
        # As in a worker: it fails its batches, under the stage's policy.
        raise lost

    return fail


def _retry(policy: Payload) -> dict[str, Payload] | None:
    if isinstance(policy, dict) and "retry" in policy:
        retry: dict[str, Payload] = policy["retry"]
        return retry
    return None


def _is_tried_again(retry: dict[str, Payload] | None, attempt: int, error: Exception) -> bool:
    if retry is None or attempt >= retry.get("max_attempts", 3):
        return False
    on = retry.get("on", "any")
    return _reason(error) not in _FINAL if on == "any" else _reason(error) in on


def _reason(error: Exception) -> str:
    if isinstance(error, EncodeError):
        return "not_encodable"
    if isinstance(error, HandlerError) or not isinstance(error, CallError):
        return "python_exception"
    return error.kind


def _is_weight(value: Payload) -> bool:
    return type(value) in (int, float) and value >= 0


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
    for start in range(0, len(measured), window):
        batches: dict[bytes, list[_Entry]] = {}
        for entry, key in measured[start : start + window]:
            # BEAM tells 1 from 1.0, and True from both.
            batches.setdefault(encode(key), []).append(entry)
        yield from batches.values()


def _not_many(stage: dict[str, Payload], value: Payload) -> CallError:
    if "expression" in stage:
        wrong = EvaluationError("type", stage["expression"], "many items need a list")
        return CallError(str(wrong), {"kind": "expression", "error": "type"})
    name = type(value).__name__
    return CallError(f"many items need a list, not a {name}", {"kind": "invalid_return"})


def _expression(error: Exception) -> Exception:
    if isinstance(error, EvaluationError):
        return CallError(str(error), {"kind": "expression", "error": error.kind})
    return error


def _facts(error: Exception, attempts: int) -> dict[str, Payload]:
    reason = _reason(error)
    kind = error.type if isinstance(error, HandlerError) else type(error).__name__
    return {
        "reason": reason,
        "message": str(error),
        "type": kind if reason == "python_exception" else None,
        "attempts": attempts,
    }
