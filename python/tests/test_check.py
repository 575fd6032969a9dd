from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slither._cli.check import check

GOOD = """
from slither import Pipe, item
from slither.pipe import retry, route

def predict(rows: list) -> list:
    return rows

inner = Pipe("inner").route("empty", bad=item["text"] == "").output("bad")
score = (
    Pipe("score")
    .store("features", "table_f")
    .beam("prepare", {"text": item}, cardinality="one")
    .pipe("clean", inner, {"bad": "rejected"})
    .python("predict", predict, batch_size=32)
    .route("way", accept=item["score"] >= 0.8, last=item["score"] < 0)
    .beam("last", item)
    .output("accept", "rejected")
    .on_error("predict", retry(max_attempts=5, then=route("rejected")))
    .on_error("*", "skip")
)
"""

TEXT = """\
pipe score
  prepare  beam    {"text": item}
  clean    pipe
      empty  router
                     item["text"] == "" -> bad
                   bad -> rejected
  predict  python  check_me:predict  batch_size=32
                   on error: retry, at most 5 attempts, then -> rejected
  way      router
                   item["score"] >= 0.8 -> accept
                   item["score"] < 0 -> last
  last     beam    item
  outputs: accept, rejected, default
  store features: table table_f
  on error elsewhere: skip
"""

MERMAID = """\
flowchart TD
  begin(("score"))
  out0(["accept"])
  out1(["rejected"])
  out2(["default"])
  s0["prepare<br>beam  {#quot;text#quot;: item}"]
  s0 --> s1_0
  subgraph s1 ["clean"]
  s1_0{"empty<br>router"}
  end
  s1_0 -->|"item[#quot;text#quot;] == #quot;#quot;"| out1
  s1_0 --> s2
  s2["predict<br>python  check_me:predict  batch_size=32"]
  s2 --> s3
  s2 -. error .-> out1
  s3{"way<br>router"}
  s3 -->|"item[#quot;score#quot;] #gt;= 0.8"| out0
  s3 -->|"item[#quot;score#quot;] #lt; 0"| s4
  s3 --> s4
  s4["last<br>beam  item"]
  s4 --> out2
  begin --> s0
"""


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("check_me", None)


def run(folder: Path, text: str, suffix: str = "", mermaid: bool = False) -> tuple[int, str, str]:
    file = folder / "check_me.py"
    file.write_text(text)
    out, errors = io.StringIO(), io.StringIO()
    status = check(f"{file}{suffix}", mermaid=mermaid, out=out, errors=errors)
    return status, out.getvalue(), errors.getvalue()


def test_a_pipe_is_drawn_as_text(tmp_path: Path) -> None:
    assert run(tmp_path, GOOD, ":score") == (0, TEXT, "")


def test_a_pipe_is_drawn_as_a_flowchart(tmp_path: Path) -> None:
    assert run(tmp_path, GOOD, ":score", mermaid=True) == (0, MERMAID, "")


def test_all_pipes_of_a_file_are_drawn(tmp_path: Path) -> None:
    status, out, _ = run(tmp_path, GOOD)
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("pipe")] == [
        "pipe inner",
        "pipe score",
    ]


WRONG = [
    ("it could not be run", "1 / 0"),
    ("ZeroDivisionError", "1 / 0"),
    ("it could not be run", "def"),
    ("it could not be run", "raise SystemExit(3)"),
    ("no public slither.Pipe", "x = 1"),
    ("no public slither.Pipe", "from slither import Pipe, item\n_p = Pipe('p').beam('a', item)"),
    ("is not declared", "from slither import Pipe, item\np = Pipe('p').route('a', b=item > 1)"),
    (
        "check_me.py:2: stage 'a'",
        "from slither import Pipe, item\np = Pipe('p').route('a', b=item)",
    ),
    ("two pipes named 'p'", "from slither import *\na = Pipe('p').batch('a')\nb = a.batch('b')"),
    (
        "no module is named 'nope'",
        "from slither import Pipe\np = Pipe('p').python('a', 'nope:f')",
    ),
    ("did you mean", "from slither import Pipe\np = Pipe('p').python('a', 'math:sqr')"),
    (
        "'sqr'",
        "from slither import *\np = Pipe('o').pipe('q', Pipe('i').python('a', 'math:sqr'))",
    ),
]


@pytest.mark.parametrize(("message", "text"), WRONG)
def test_what_is_wrong_is_written_and_gives_status_1(
    tmp_path: Path, message: str, text: str
) -> None:
    status, _, errors = run(tmp_path, text)
    assert status == 1
    assert message in errors


def test_a_file_that_is_not_there_gives_status_1(tmp_path: Path) -> None:
    errors = io.StringIO()
    assert check(str(tmp_path / "none.py"), errors=errors) == 1
    assert "no such file" in errors.getvalue()
    assert run(tmp_path, GOOD, ":scroe")[2].endswith("the file has no pipe named 'scroe'\n")


HANDLERS = """
from collections.abc import Iterator
from slither import Pipe
from slither.worker import batch_handler, item_handler

def one(row: dict) -> dict:
    return row

def many(rows: list[dict]) -> list[dict]:
    return rows

def yields(rows: list[int]) -> Iterator[int]:
    yield from rows

def total(rows: list[int]) -> int:
    return sum(rows)

def half_said(rows: list[int]):
    return rows

@batch_handler("check.marked_list")
def marked_list(row: dict) -> list[dict]:
    return [row]

@item_handler("check.marked_one")
def marked_one(rows: list[int]) -> list[int]:
    return rows

pipe = Pipe("p").python("s", {})
"""


@pytest.mark.parametrize(
    "stage",
    [
        *("one", "many", "total", "yields", "many, each=False", "marked_one, each=True"),
        *("'check_me:one'", "'check_me:many'", "'check_me:one', each=True"),
    ],
)
def test_a_function_is_given_what_its_annotations_say(tmp_path: Path, stage: str) -> None:
    status, _out, errors = run(tmp_path, HANDLERS.replace("{}", stage))
    assert status == 0
    assert "each" not in errors or stage.startswith("marked_one")


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("one, each=False", "takes a list of items by each=False, and says row: dict"),
        ("'check_me:one', each=False", "by each=False, and says row: dict"),
        ("total, each=False", "returns a list of results by each=False, and says int"),
        ("yields, each=True", "gives Iterator[int] for one item"),
        ("marked_list", "by @slither.worker.batch_handler, and says row: dict"),
        ("'check_me:marked_list', each=True", "is marked with @slither.worker.batch_handler"),
        ("'check_me:marked_one', each=False", "is marked with @slither.worker.item_handler"),
    ],
)
def test_what_contradicts_fails(tmp_path: Path, stage: str, says: str) -> None:
    status, _out, errors = run(tmp_path, HANDLERS.replace("{}", stage))
    assert status == 1
    assert "pipe 'p', stage 's': check_me:" in errors
    assert says in errors


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("many, each=True", "each=True, and says rows: list[dict] -> list[dict]"),
        ("marked_one", "by @slither.worker.item_handler, and says rows: list[int]"),
        ("'check_me:half_said'", "rows: list[int] has no result beside it"),
        ("half_said", "rows: list[int] has no result beside it"),
    ],
)
def test_what_may_be_meant_so_is_told(tmp_path: Path, stage: str, says: str) -> None:
    status, _out, errors = run(tmp_path, HANDLERS.replace("{}", stage))
    assert status == 0
    assert "perhaps a slip: pipe 'p', stage 's'" in errors
    assert says in errors


TYPED = """
from __future__ import annotations

import enum
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from slither import Pipe
from slither.worker import item_handler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from nowhere import Row

class Own:
    pass

class Has(Protocol):
    x: int

class Colour(enum.Enum):
    RED = 1

@dataclass
class Point:
    x: float
    own: Any = None

@dataclass
class Vector:
    x: float
    own: Any = None

@dataclass
class Scaled:
    x: float
    by: InitVar[int]

@dataclass
class Circle:
    kind: Literal["circle"]

@dataclass
class Square:
    kind: Literal["square"]

@dataclass(init=False)
class Made:
    x: int
    def __init__(self, other: str) -> None: ...

@dataclass
class Deep:
    row: list[Row]

def lost(row: Row) -> Point: ...
def deep(rows: list[Deep]) -> list[Point]: ...
def alike(row: Point | Vector) -> None: ...
def told_apart(row: Circle | Square) -> Colour: ...
def scaled(row: Scaled) -> None: ...
def made(row: Made) -> None: ...
def own(row: Own) -> Own: ...
def owns(rows: list[dict[str, Any]]) -> Iterator[Own]: ...
def fine(rows: list[Point]) -> Iterator[Point]: ...
def has(row: Has) -> Has: ...
def many(row: Point) -> Iterator[Own]: ...

@item_handler(f"{__name__}.raw", typed=False)
def raw(row: Row) -> Own: ...
"""

LOST = "can't be read when it runs (NameError: name 'Row' is not defined): data stay as they come"
DATA = "says Own, which data don't become: make it a dataclass, or say slither.register(Own, …)"
UNSENT = "it returns Own, which can't be sent: slither.register(Own, …) says how"
TOLD = [
    ("lost", [f"its parameter row: Row {LOST}"]),
    ("deep", [f"its parameter rows: list[Row] {LOST}"]),
    (
        "alike",
        [
            "its parameter row: Point and Vector have the same fields, so Point is always taken: "
            "give each a field with a Literal of its own"
        ],
    ),
    ("told_apart", []),
    (
        "scaled",
        [
            "its parameter row: Scaled.by is an InitVar without a default, and is not sent with "
            "the fields of Scaled: data of it can't become one"
        ],
    ),
    (
        "made",
        [
            "its parameter row: Made has an __init__ of its own that does not take its fields by "
            "name"
        ],
    ),
    ("own", [f"its parameter row {DATA}", UNSENT]),
    ("owns", [UNSENT]),
    ("fine", []),
    ("has", []),
    ("many", [UNSENT]),
    ("raw", []),
]


@pytest.mark.parametrize(("function", "told"), TOLD)
def test_annotations_that_can_not_be_honoured(
    tmp_path: Path, function: str, told: list[str]
) -> None:
    options = ", cardinality='many'" if function == "many" else ""
    name = f"check_typed_{function}"
    (tmp_path / f"{name}.py").write_text(
        f"{TYPED}\ntyped = Pipe('typed').python('stage', {function}{options})\n"
    )
    out, errors = io.StringIO(), io.StringIO()
    assert check(str(tmp_path / f"{name}.py"), out=out, errors=errors) == 0
    where = f"perhaps a slip: pipe 'typed', stage 'stage': {name}:{function}"
    lines = errors.getvalue().replace(f"{tmp_path / name}.py: ", "").splitlines()
    assert lines == [f"{where}: {one}" for one in told]
