"""What a program or a command is told when it asks for what can't be, word by word.

``messages.json`` holds them; ``python python/tests/test_messages.py`` writes it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import driven
import pytest

import slither
from slither import Pipe, item, when
from slither._cli.main import main
from slither._types import Payload
from slither.pipe import retry, route

KNOWN = Path(__file__).with_name("messages.json")

Ask = Callable[[], object]


class Owner:
    def method(self, one: Payload) -> Payload:
        return one


def local() -> Callable[..., Payload]:
    return lambda one: one


def closure() -> Callable[..., Payload]:
    def inner(one: Payload) -> Payload:
        return one

    return inner


FUNCTIONS: dict[str, Payload] = {
    "lambda": local(),
    "local": closure(),
    "partial": functools.partial(driven.double, 2),
    "method": Owner().method,
    "number": 7,
    "object": Owner(),
    "nameless": functools.lru_cache(local()),
    "text": "no reference",
}
VALUES: list[Payload] = [0, True, "2", None]


def call(function: Payload, *args: Payload, **options: Payload) -> Ask:
    return lambda: function(*args, **options)


def of_the_beam() -> Iterator[tuple[str, Ask]]:
    odd: list[Payload] = ["2", True]
    for option in ("workers", "warn_after", "startup_timeout", "shutdown_timeout"):
        yield f"Beam({option}=0)", call(slither.Beam, **{option: 0})
    for value in odd:
        yield f"Beam(workers={value!r})", call(slither.Beam, workers=value)
        yield f"Beam(warn_after={value!r})", call(slither.Beam, warn_after=value)
    for name in ("lambda", "partial"):
        yield f"Beam(initializer={name})", call(slither.Beam, initializer=FUNCTIONS[name])
    yield "Beam(klingon=1)", call(slither.Beam, klingon=1)
    yield "Executor(0)", call(slither.Executor, 0)
    for value in ["2", 0]:
        options: Payload = {"max_tasks_per_child": value}
        yield f"Executor(max_tasks_per_child={value!r})", call(slither.Executor, **options)
    yield "Executor(timeout=0)", call(slither.Executor, timeout=0)
    yield "Executor(klingon=1)", call(slither.Executor, klingon=1)


OPTIONS: dict[str, list[Payload]] = {
    "batch_size": [0, "2", True],
    "max_in_flight": [0, 1.5],
    "ordering": ["sorted", None],
    "timeout": [0, "1", True],
    "on_error": ["ignore", 7, None, route("bad"), retry(then=route("bad"))],
    "klingon": [1],
}


def of_runs(beam: slither.Beam) -> Iterator[tuple[str, Ask]]:
    pipe: Payload = Pipe("p").beam("b", item)
    for way in ("map", "amap"):
        run: Payload = getattr(beam, way)
        for option, values in OPTIONS.items():
            for value in values:
                asked = call(run, driven.double, [1], **{option: value})
                yield f"{way}({option}={value!r})", asked
        for name, function in FUNCTIONS.items():
            yield f"{way}({name})", call(run, function, [1])
    for way in ("run", "stream", "astream"):
        yield f"{way}(7)", call(getattr(beam, way), 7, [1])
        yield f"{way}(resume='no')", call(getattr(beam, way), pipe, [1], resume="no")
    yield "arun(7)", lambda: asyncio.run(beam.arun(7, [1]))  # type: ignore[arg-type]
    yield "arun(resume='no')", lambda: asyncio.run(beam.arun(pipe, [1], resume="no"))
    for name, function in FUNCTIONS.items():
        # A single call of a partial is one of its function.
        if name != "partial":
            yield f"submit({name})", call(beam.submit, function)
    yield "submit_with(timeout=0)", call(beam.submit_with, driven.double, timeout=0)
    for value in (0, -2.5):
        yield f"wait_ready({value!r})", call(beam.wait_ready, value)
    for value in ("", 7):
        yield f"store({value!r})", call(beam.store, value)
    yield "store(type='bag')", call(beam.store, "t", type="bag")
    yield "store(ttl=0)", call(beam.store, "t", ttl=0)
    executor: Payload = slither.Executor(beam=beam)
    yield "Executor.map(chunksize=0)", call(executor.map, driven.double, [1], chunksize=0)
    yield "Executor.map(buffersize=0)", call(executor.map, driven.double, [1], buffersize=0)
    yield "Executor.map(lambda)", call(executor.map, FUNCTIONS["lambda"], [1])
    yield "Executor.kill(7)", call(executor.kill, 7)
    yield "Executor(2, beam=beam)", call(slither.Executor, 2, beam=beam)


def of_pipes() -> Iterator[tuple[str, Ask]]:
    pipe: Payload = Pipe("p")
    tables: Payload = {
        "python": (
            lambda **options: pipe.python("s", driven.echoes, **options),
            "batch_size batch_time min_batch_size max_batch_size max_in_flight "
            "max_in_flight_bytes ordering isolate timeout item_timeout queue_timeout pool "
            "max_weight window batchsize",
        ),
        "beam": (
            lambda **options: pipe.beam("s", "a function", **options),
            "cardinality concurrency batch",
        ),
        "batch": (lambda **options: pipe.batch("s", **options), "size timeout"),
        "retry": (retry, "max_attempts base max jitter on then tries"),
    }
    for method, (make, options) in tables.items():
        for option in options.split():
            for value in VALUES:
                yield f"{method}({option}={value!r})", call(make, **{option: value})
    for name, function in FUNCTIONS.items():
        yield f"python({name})", call(pipe.python, "s", function)
    for given in (
        {"weight": item, "key": item},
        {"weight": item},
        {"max_weight": 2},
        {"window": 2},
        {"batch_size": "auto", "key": item},
    ):
        yield f"python({given})", call(pipe.python, "s", driven.echoes, **given)
    yield "python(each=function)", call(pipe.python, "s", driven.double, each=driven.double)
    yield "python(each=True)", call(pipe.python, "s", driven.total, each=True)
    yield "python(each=False)", call(pipe.python, "s", driven.one_no_fives, each=False)
    yield "python(command, each=True)", call(pipe.python, "s", command="c", each=True)
    yield "python(command='')", call(pipe.python, "s", command="")
    yield "python()", call(pipe.python, "s")
    yield "python(item)", call(pipe.python, "s", item)
    names: list[Payload] = ["", "a b", "-a", 7, "default"]
    for odd in names:
        yield f"beam({odd!r})", call(pipe.beam, odd, item)
    yield "beam(concurrency=2)", call(pipe.beam, "s", item, concurrency=2)
    yield "beam('')", call(pipe.beam, "s", "")
    once = pipe.beam("s", item).output("o")
    for name in ("s", "o"):
        yield f"twice {name}", call(once.beam, name, item)
        yield f"output {name}", call(once.output, name)
    yield "route()", call(pipe.route, "r")
    yield "route(twice)", call(pipe.route, "r", {"a": True}, a=True)
    yield "route(7)", call(pipe.route, "r", a=7)
    yield "no stages", pipe.document
    yield "route to nowhere", pipe.route("r", outs=True).output("out").document
    yield "route back", pipe.beam("s", item).route("r", s=True).document
    yield "on_error to nowhere", once.on_error("s", route("p")).document
    yield "on_error(no stage)", call(once.on_error, "t", "skip")
    yield "on_error(twice)", call(once.on_error("s", "skip").on_error, "s", "skip")
    for policy in (7, "ignore", None):
        yield f"on_error({policy!r})", call(once.on_error, "s", policy)
    yield "route(7) of a policy", call(route, 7)
    yield "retry(then=retry)", call(retry, then=retry())
    yield "pipe(7)", call(pipe.pipe, "s", 7)
    yield "pipe(outputs)", call(pipe.pipe, "s", once, {"oo": "a"})
    yield "store(7)", call(pipe.store, "s", 7)
    yield "store(twice)", call(pipe.store("s").store, "s")


def of_expressions() -> Iterator[tuple[str, Ask]]:
    values: Payload = {
        "int": 1 << 63,
        "float": float("inf"),
        "set": {1},
        "function": driven.double,
        "text": "\ud800",
        "key": {1.5: 1},
        "when": when(item),
        "then": when(item).then(1),
    }
    for name, value in values.items():
        yield f"item + {name}", call(item.__add__, value)
    one: Payload = item
    for name, ask in {
        "bool": lambda: bool(one),
        "len": lambda: len(one),
        "iter": lambda: list(one),
        "in": lambda: 1 in one,
        "int": lambda: int(one),
        "f-string": lambda: f"{one}",
        "call": one,
        "attribute": lambda: one.score,
        "slice": lambda: one[1:2],
        "assignment": lambda: setattr(one, "a", 1),
        "bool(then)": lambda: bool(when(item).then(1)),
        "depth": lambda: functools.reduce(lambda made, _: -made, range(65), item),
        "size": lambda: item == list(range(10_001)),
    }.items():
        yield f"expression: {name}", ask
    # No error, but every operator as it is written down.
    for sign in ("==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "//", "%", "&", "|"):
        yield f"item {sign} 2", lambda sign=sign: eval(f"item {sign} 2")  # type: ignore[misc]
        yield f"2 {sign} item", lambda sign=sign: eval(f"2 {sign} item")  # type: ignore[misc]
    for text in (
        "-item",
        "~item",
        "item[0]",
        "item.get('a', 1)",
        "item.is_in([1])",
        "item.contains(1)",
        "item.is_none()",
        "item.len()",
        "item.lower()",
        "item.upper()",
        "item.strip()",
        "item.split()",
        "item.split(',')",
        "item.startswith('a')",
        "item.endswith('a')",
        "(item > 1) & (item < 3) & item.is_none()",
        "when(item > 1).then({'a': [item]}).otherwise(None)",
        "slither.pipe.fail('no')",
    ):
        yield text, lambda text=text: eval(text)  # type: ignore[misc]


COMMANDS = [
    ["run"],
    ["run", "no.py"],
    ["run", "no.py", "--workers", "0"],
    ["run", "no.py", "--workers", "two"],
    ["run", "no.py", "--encoding", "klingon"],
    ["run", "no.py", "--delimiter", "ab"],
    ["run", "no.py", "--delimiter", '"'],
    ["run", "no.py", "--max-errors", "many"],
    ["run", "no.py", "--max-errors", "-1"],
    ["run", "no.py", "--max-errors", "x%"],
    ["check", "no.py"],
    ["check", "no.py:name"],
]


def of_the_command() -> Iterator[tuple[str, Ask]]:
    for arguments in COMMANDS:
        yield " ".join(["slither", *arguments]), lambda arguments=arguments: told(arguments)  # type: ignore[misc]


def told(arguments: list[str]) -> str:
    out = io.StringIO()
    status: object = None
    with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
    lines = out.getvalue().splitlines()
    return f"{status}: {lines[-1]}"


def words(ask: Ask) -> str:
    try:
        return f"-> {ask()!r}"
    except Exception as error:  # noqa: BLE001 - which one it is stands in the file
        # The line of this file would change with it.
        where = getattr(error, "where", None)
        return f"{type(error).__name__}: {str(error).replace(f'{where}: ', '')}"


def found(makes: Callable[[], Iterator[tuple[str, Ask]]]) -> dict[str, str]:
    return {name: words(ask) for name, ask in makes()}


def known(part: str) -> dict[str, str]:
    sentences: dict[str, dict[str, str]] = json.loads(KNOWN.read_text())
    return sentences[part]


PARTS = {
    "beam": of_the_beam,
    "pipes": of_pipes,
    "expressions": of_expressions,
    "command": of_the_command,
}


@pytest.mark.parametrize("part", PARTS)
def test_each_sentence_stays(part: str) -> None:
    assert found(PARTS[part]) == known(part)


def test_each_sentence_about_runs_stays(beam: slither.Beam) -> None:
    assert found(lambda: of_runs(beam)) == known("runs")


if __name__ == "__main__":
    with slither.Beam(workers=1) as started:
        everything = {part: found(makes) for part, makes in PARTS.items()}
        everything["runs"] = found(lambda: of_runs(started))
    KNOWN.write_text(json.dumps(everything, indent=1, ensure_ascii=True) + "\n")
