from __future__ import annotations

import functools
import inspect
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import driven
import pytest
from pipe_samples import SAMPLES, Model, halve, predict_batch
from tagged import VECTORS

from slither import Pipe, PipeError, SlitherError, item, store
from slither._types import Payload
from slither.pipe import VERSION, retry, route

ROWS = json.loads((VECTORS / "documents.json").read_text("utf-8"))
SOUND = {row["name"]: row["document"] for row in ROWS if "path" not in row}


@pytest.mark.parametrize("pipe", SAMPLES, ids=[pipe.name for pipe in SAMPLES])
def test_a_pipe_has_the_document_of_its_vector(pipe: Pipe) -> None:
    assert pipe.document() == SOUND[pipe.name]
    # 1 == 1.0 == True: the text tells them apart.
    assert json.dumps(pipe.document()) == json.dumps(SOUND[pipe.name])


def test_every_vector_has_a_pipe() -> None:
    assert [pipe.name for pipe in SAMPLES] == list(SOUND)
    assert len({row["name"] for row in ROWS}) == len(ROWS)


def test_a_pipe_is_never_changed() -> None:
    first = Pipe("p").beam("a", item)
    second = first.beam("b", item).output("x").on_error("a", "skip").store("s")
    assert [stage["name"] for stage in first.document()["stages"]] == ["a"]
    assert first.document()["outputs"] == []
    assert [stage["name"] for stage in second.document()["stages"]] == ["a", "b"]
    second.document()["stages"].clear()
    assert len(second.document()["stages"]) == 2


def test_a_store_is_named_by_itself_by_another_name_or_by_a_handle() -> None:
    pipe = Pipe("p").store("a").store("b", "table_b").store("c", store.table("table_c"))
    assert pipe.beam("x", item).document()["stores"] == [
        {"name": "a", "table": "a"},
        {"name": "b", "table": "table_b"},
        {"name": "c", "table": "table_c"},
    ]


def closure() -> Callable[[list[int]], list[int]]:
    number = 1

    def add(items: list[int]) -> list[int]:
        return [number + one for one in items]

    return add


def plain_inner() -> Callable[[list[int]], list[int]]:
    def same(items: list[int]) -> list[int]:
        return items

    return same


def shadowed(items: list[int]) -> list[int]:
    return items


original = shadowed


def other(items: list[int]) -> list[int]:
    return items


shadowed = other


class Bound:
    def apply(self, items: list[int]) -> list[int]:
        return items

    @classmethod
    def made(cls, items: list[int]) -> list[int]:
        return items


P = Pipe("p")


def of_anything(rows: Any) -> Any:
    return rows


def test_a_handler_of_anything_may_take_a_list() -> None:
    assert P.python("x", of_anything).document()["stages"][0]["function"] == "of_anything"


ONE = P.beam("one", item)
identity: Callable[[list[int]], list[int]] = lambda items: items  # noqa: E731
WRONG: list[tuple[str, Callable[[], object]]] = [
    ("a lambda has no name", lambda: P.python("x", lambda items: items)),
    ("a lambda has no name", lambda: P.python("x", identity)),
    ("add is a closure", lambda: P.python("x", closure())),
    ("same is defined within a function", lambda: P.python("x", plain_inner())),
    ("needs functools.wraps", lambda: P.python("x", plain_inner())),
    ("Bound.apply is bound to an object", lambda: P.python("x", Bound().apply)),
    ("a partial of", lambda: P.python("x", functools.partial(predict_batch))),
    ("another object has it", lambda: P.python("x", original)),
    ("names no handler", lambda: P.python("x", "my_model")),
    ("names no handler", lambda: P.python("x", "my_model:f()")),
    ("not a int", lambda: P.python("x", 5)),  # type: ignore[call-overload]
    ("exactly one of them", lambda: P.python("x")),
    ("exactly one of them", lambda: P.python("x", predict_batch, command="c")),
    ("function, each=True", lambda: P.python("x", math.sqrt, each=1)),  # type: ignore[call-overload]
    ("exactly one of them", lambda: P.python("x", each=math.sqrt)),  # type: ignore[call-overload]
    ("batch_handler", lambda: P.python("x", driven.total, each=True)),
    ("item_handler", lambda: P.python("x", halve, each=False)),  # type: ignore[call-overload]
    ("by its decorator", lambda: P.python("x", command="c", each=True)),
    ("an expression goes to .beam", lambda: P.python("x", item)),  # type: ignore[call-overload]
    ("Did you mean 'batch_size'?", lambda: P.python("x", predict_batch, batchsize=3)),  # type: ignore[call-overload]
    ("of 1 or more, or 'auto'", lambda: P.python("x", predict_batch, batch_size=0)),
    ("True or False", lambda: P.python("x", predict_batch, isolate=1)),  # type: ignore[call-overload]
    ("of 49 days at most, or None", lambda: P.python("x", predict_batch, timeout=0)),
    ("of 49 days at most, or None", lambda: P.batch("x", timeout=float("inf"))),
    ("'preserve' or", lambda: P.python("x", predict_batch, ordering="none")),  # type: ignore[call-overload]
    ("two ways to batch", lambda: P.python("x", predict_batch, weight=1, key=1)),
    ("go together", lambda: P.python("x", predict_batch, weight=item)),
    (
        "does not go with cardinality",
        lambda: P.python("x", predict_batch, cardinality="many", item_timeout=1),
    ),
    ("goes with 'key'", lambda: P.python("x", predict_batch, window=3)),
    ("goes with the name of a function", lambda: P.beam("x", item, concurrency=2)),
    ("'one' or 'many'", lambda: P.beam("x", item, cardinality="two")),  # type: ignore[arg-type]
    ("1 to 255 bytes", lambda: P.beam("x", "")),
    ("needs a route", lambda: P.route("x")),
    ("True or False, got 1", lambda: P.route("x", a=1)),
    ("a route is there twice", lambda: P.route("x", {"a": item > 1}, a=item > 2)),
    ("a whole number", lambda: P.batch("x", size=0)),
    ("takes a Pipe", lambda: P.pipe("x", "clean")),  # type: ignore[arg-type]
    ("Did you mean 'bad'?", lambda: P.pipe("x", ONE.output("bad"), {"bda": "b"})),
    ("stage 'one' is there twice", lambda: ONE.beam("one", item)),
    ("'one' is a stage and an output", lambda: ONE.output("one")),
    ("'x' is a stage and an output", lambda: P.output("x").beam("x", item)),
    ("'default' is an output", lambda: P.beam("default", item)),
    ("output 'x' is there twice", lambda: P.output("x", "x")),
    ("store 's' is there twice", lambda: P.store("s").store("s")),
    ("a table's name or its handle", lambda: P.store("s", 5)),  # type: ignore[arg-type]
    ("1 to 64 of the characters", lambda: Pipe("../p")),
    ("1 to 64 of the characters", lambda: P.beam("é", item)),
    ("1 to 64 of the characters", lambda: P.output("a.b")),
    ("no stage 'oen'. Did you mean 'one'?", lambda: ONE.on_error("oen", "skip")),
    ("there twice", lambda: ONE.on_error("one", "skip").on_error("one", "halt")),
    ("'halt', 'skip', route(…) or", lambda: ONE.on_error("one", "skp")),  # type: ignore[arg-type]
    ("Did you mean 'max_attempts'?", lambda: retry(max_attempt=3)),  # type: ignore[call-arg]
    ("not another retry", lambda: retry(then=retry())),
    ("an output's name or an expression", lambda: route(5)),
    ("has no stages", P.document),
    ("output 'x' is not declared", lambda: P.route("r", x=item > 1).document()),
    ("Did you mean 'accept'?", lambda: P.route("r", acept=item > 1).output("accept").document()),
    ("not a later stage", lambda: ONE.route("r", one=item > 1).document()),
    ("not a later stage", lambda: P.route("r", r=item > 1).document()),
    ("output 'bad' is not declared", lambda: ONE.on_error("one", route("bad")).document()),
    ("output 'bad' is", lambda: ONE.on_error("*", retry(then=route("bad"))).document()),
    ("output 'bad' is", lambda: P.pipe("x", ONE.output("bad")).document()),
]  # fmt: skip


@pytest.mark.parametrize(("message", "mistake"), WRONG)
def test_a_mistake_is_refused(message: str, mistake: Callable[[], object]) -> None:
    with pytest.raises(PipeError) as raised:
        mistake()
    assert isinstance(raised.value, SlitherError)
    assert message in str(raised.value)


def here() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def test_a_mistake_names_the_line_of_its_call() -> None:
    with pytest.raises(PipeError) as raised:
        P.beam("a", item).output("x").on_error("b", "skip")
    assert raised.value.where == f"test_pipe.py:{here() - 1}"


def test_a_mistake_that_only_the_whole_shows_names_the_line_of_the_call_at_fault() -> None:
    pipe = P.beam("a", item)
    pipe = pipe.route("r", nowhere=item > 1)
    line = here() - 1
    pipe = pipe.beam("b", item).on_error("b", "skip")
    with pytest.raises(PipeError, match="'nowhere' is not declared") as raised:
        pipe.document()
    assert raised.value.where == f"test_pipe.py:{line}"


def test_functions_are_named_by_their_module() -> None:
    def target(pipe: Pipe) -> Payload:
        stage = pipe.document()["stages"][0]
        return stage["module"], stage["function"]

    assert target(P.python("x", predict_batch)) == ("pipe_samples", "predict_batch")
    assert target(P.python("x", Model.apply)) == ("pipe_samples", "Model.apply")
    assert target(P.python("x", Bound.made)) == ("test_pipe", "Bound.made")
    assert target(P.python("x", halve)) == ("pipe_samples", "halve")
    assert target(P.python("x", "a.b:C.d")) == ("a.b", "C.d")


def test_a_function_of_main_is_named_so() -> None:
    script = (
        "from slither import Pipe\n"
        "def f(items): return items\n"
        "print(Pipe('p').python('x', f).document()['stages'][0]['module'])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    assert out == b"__main__\n"


def test_pipes_nest_only_so_deep() -> None:
    pipe = ONE
    for _ in range(7):
        pipe = P.pipe("inner", pipe)
    assert pipe.document()
    with pytest.raises(PipeError, match="deeper than 8"):
        P.pipe("inner", pipe)


def test_a_document_says_its_version() -> None:
    assert ONE.document()["version"] == VERSION == 1


def test_a_pipe_shows_its_stages() -> None:
    assert repr(ONE.beam("two", item)) == "<slither.Pipe 'p': one -> two>"


def test_a_worker_does_not_load_the_language() -> None:
    script = "import sys, json, slither._worker.main; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    loaded = set(json.loads(out))
    assert not loaded & {
        "slither.pipe",
        "slither._pipe.expression",
        "slither._cli.definitions",
    }


SNIPPET = Path(__file__).with_name("typed_pipe.py")


def test_types_refuse_what_is_no_list_to_list_function(tmp_path: Path) -> None:
    lines = SNIPPET.read_text("utf-8").splitlines()
    wrong = {n for n, line in enumerate(lines, 1) if "  # type: ignore" in line}
    bare = tmp_path / "bare.py"
    bare.write_text("\n".join(line.split("  # type: ignore")[0] for line in lines))
    root = SNIPPET.parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml"]
    done = subprocess.run(
        [*command, str(bare)], check=False, capture_output=True, text=True, cwd=root
    )
    out = done.stdout
    found = {int(line.split(":")[1]) for line in out.splitlines() if ": error:" in line}
    assert found == wrong, out
    assert len(wrong) == 23
