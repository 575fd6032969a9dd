from __future__ import annotations

import csv
import datetime
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from slither import Tagged
from slither._cli.writing import CsvLines, Lines, RowError, to_json
from slither._types import Payload

PIPES = """
import os, time
from slither import Pipe, item, store
from slither.worker import item_handler

def score(rows: list) -> list:
    return [{**row, "score": int(row["n"]) % 10 / 10} for row in rows]

def tell(rows: list) -> list:
    import logging
    logging.getLogger("tell").info("rows %d", len(rows), extra={"first": rows[0]["n"]})
    return rows

def fail(rows: list) -> list:
    if any(row["n"] == 5 for row in rows):
        raise ValueError("five is right out")
    return rows

def hang(rows: list) -> list:
    open(rows[0]["path"], "w").close()
    time.sleep(600)

def until_there(rows: list) -> list:
    if not os.path.exists(rows[0]["path"]) and rows[0]["n"] >= 6:
        raise RuntimeError("not yet")
    return rows

def seen(rows: list) -> list:
    return [store.table("seen_by_cli").update_counter("rows") for _ in rows]

scored = (
    Pipe("scored").python("score", score, batch_size=4)
    .route("route", high=item["score"] >= 0.5).output("high")
)
telling = Pipe("telling").python("tell", tell, batch_size=4)
failing = Pipe("failing").python("fail", fail, batch_size=2)
hanging = Pipe("hanging").python("hang", hang)
resumed = Pipe("resumed").python("work", until_there, batch_size=2)
lengths = Pipe("lengths").beam("count", item.len())
counted = Pipe("counted").store("seen", "seen_by_cli").python("count", seen)
"""

ONE = ("--workers", "1")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def slither(escript: Path, tmp_path: Path) -> Command:
    (tmp_path / "my_pipes.py").write_text(PIPES)

    def run(*arguments: str, **options: Payload) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "slither", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, **options
        )

    return run


def rows(count: int, **more: Payload) -> str:
    return "".join(json.dumps({"n": n, **more}) + "\n" for n in range(count))


def test_what_handlers_log_goes_to_stderr_as_lines_of_json_where_that_is_asked_for(
    slither: Command,
) -> None:
    command = ("run", "my_pipes.py:telling", "--quiet", *ONE)
    plain = slither(*command, input=rows(8))
    assert (plain.returncode, plain.stderr) == (0, "")
    done = slither(*command, "--log", "json", input=rows(8))
    assert done.returncode == 0, done.stderr
    assert done.stdout == plain.stdout
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    told = [line for line in lines if line["logger"] == "tell"]
    assert [(line["message"], line["first"], line["batch"]) for line in told] == [
        *(("rows 4", 0, 0), ("rows 4", 4, 1)),
    ]
    assert {(line["level"], line["pipe"], line["stage"], line["worker"]) for line in told} == {
        ("info", "telling", "tell", 0)
    }
    assert slither(*command, "--log", "xml").returncode == 2


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def test_a_run_writes_a_file_for_each_output(slither: Command, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(rows(40))
    done = slither(
        "run", "my_pipes.py:scored", "--input", "data.jsonl", "--output", "out", "--workers=1-2"
    )
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path / "out/high.jsonl") == [n for n in range(40) if n % 10 >= 5]
    assert numbers(tmp_path / "out/default.jsonl") == [n for n in range(40) if n % 10 < 5]
    assert done.stdout == ""
    assert "40 items in" in done.stderr


def test_csv_in_and_out(slither: Command, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('n,text\n1,"a, b"\n7,c\n')
    done = slither(
        *("run", "my_pipes.py:scored", "--input", "data.csv", "--output", "out", "--to", "csv")
    )
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out/high.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [{"n": "7", "text": "c", "score": "0.7"}]
    assert (tmp_path / "out/default.csv").read_text() == 'n,score,text\n1,0.1,"a, b"\n'


def test_stdin_to_stdout(slither: Command) -> None:
    done = slither("run", "my_pipes.py:scored", "--quiet", "--workers", "1", input=rows(6))
    assert done.returncode == 0, done.stderr
    got = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["output"] for row in got] == ["default"] * 5 + ["high"]
    assert got[5]["value"] == {"n": 5, "score": 0.5}
    assert done.stderr == ""


def test_bare_values_of_one_output(slither: Command) -> None:
    done = slither("run", "my_pipes.py:scored", "--only", "high", "--to", "csv", input=rows(7))
    assert done.stdout == "n,score\n5,0.5\n6,0.6\n"
    lines = slither(
        *("run", "my_pipes.py:lengths", "--from", "lines", "--only", "default"), input="a\nbcd\n"
    )
    assert lines.stdout == "1\n3\n"


def test_a_failed_run_keeps_what_was_finished(slither: Command, tmp_path: Path) -> None:
    done = slither("run", "my_pipes.py:failing", "--output", "out", input=rows(9))
    assert done.returncode == 1
    assert "pipe 'failing', stage 'fail'" in done.stderr
    assert "ValueError: five is right out" in done.stderr
    assert 'raise ValueError("five is right out")' in done.stderr
    assert "what was finished is in out/default.jsonl (4 rows)" in done.stderr
    assert numbers(tmp_path / "out/default.jsonl") == [0, 1, 2, 3]


def test_an_input_that_breaks_off_keeps_what_came_before(
    slither: Command, tmp_path: Path
) -> None:
    done = slither(
        "run",
        "my_pipes.py:scored",
        "--output",
        "out",
        "--workers",
        "1",
        input=rows(3) + "{oops\n",
    )
    assert done.returncode == 1
    assert "stdin, line 4, column 2: not JSON: Expecting property name" in done.stderr
    assert numbers(tmp_path / "out/default.jsonl") == [0, 1, 2]


def test_a_run_with_a_checkpoint_goes_on(slither: Command, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(rows(10, path="mended"))
    command = ("run", "my_pipes.py:resumed", "--input", "data.jsonl", "--output", "out")
    first = slither(*command, "--checkpoint", "run.checkpoint")
    assert first.returncode == 1, first.stderr
    assert numbers(tmp_path / "out/default.jsonl") == list(range(6))
    (tmp_path / "mended").touch()
    second = slither(*command, "--checkpoint", "run.checkpoint")
    assert second.returncode == 0, second.stderr
    assert numbers(tmp_path / "out/default.jsonl") == list(range(10))
    # The account is of this run: it had four rows left.
    assert "4 items in" in second.stderr


def test_a_full_disk_is_one_clear_error(slither: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/default.jsonl").symlink_to("/dev/full")
    done = slither("run", "my_pipes.py:scored", "--output", "out", input=rows(20))
    assert done.returncode == 1
    assert "out/default.jsonl can't be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


FILLS = """
import resource, sys
from slither._cli import writing
# BEAM itself could not live with such a limit.
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
lines = writing.Lines(sys.argv[1], 'ENCODE')
try:
    for n in range(100_000):
        lines.write({"n": n, "text": "two\\nlines"})
except OSError as error:
    print(error.filename, error.strerror)
lines.close()
print(lines.kept)
"""


def test_a_disk_that_fills_keeps_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FILLS.replace("ENCODE", "jsonl"), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    kept = numbers(path)
    assert done.stdout == f"{path} File too large\n{len(kept)}\n"
    assert kept == list(range(len(kept)))
    assert 99_900 < path.stat().st_size <= 100_000


def test_a_disk_that_fills_leaves_no_part_of_a_row_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    script = FILLS.replace("ENCODE", "csv")
    subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=True)
    with open(path, newline="") as file:
        texts = {row["text"] for row in csv.DictReader(file, strict=True)}
    assert texts == {"two\nlines"}


def test_a_reader_of_stdout_that_leaves_is_no_error(slither: Command, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(rows(20_000))
    script = f"{sys.executable} -m slither run my_pipes.py:scored --input data.jsonl | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout)["value"]["n"] == 0
    assert "rror" not in done.stderr


def test_tables_of_the_pipe_are_opened(slither: Command) -> None:
    done = slither("run", "my_pipes.py:counted", "--only", "default", *ONE, input=rows(3))
    assert (done.returncode, done.stdout) == (0, "1\n2\n3\n"), done.stderr


def test_a_ctrl_c_ends_with_130(slither: Command, tmp_path: Path) -> None:
    path = tmp_path / "began"
    (tmp_path / "data.jsonl").write_text(json.dumps({"path": str(path)}) + "\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "slither", "run", "my_pipes.py:hanging", "--input", "data.jsonl"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not path.exists():
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "slither: interrupted" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "the following arguments are required: FILE[:NAME]"),
        (["run", "nowhere.py"], "nowhere.py: there is no such file"),
        (["run", "my_pipes.py"], "my_pipes.py has several pipes: scored, "),
        (["run", "my_pipes.py:none"], "no pipe named 'none'"),
        (["run", "my_pipes.py:scored", "--input", "none.jsonl"], "none.jsonl can't be read"),
        (["run", "my_pipes.py:scored", "--only", "low"], "no such output; it has high, default"),
        (["run", "my_pipes.py:scored", "--workers", "0"], "a whole number of 1 or more, not '0'"),
        (["run", "my_pipes.py:scored", "--workers", "3-1"], "the least and the most, not '3-1'"),
        (["run", "my_pipes.py:scored", "--output", "my_pipes.py"], "can't be written"),
        (["run", "my_pipes.py:scored", "--to", "csv"], "--to csv on stdout goes with one --only"),
        (["walk"], "invalid choice: 'walk'"),
    ],
)
def test_a_command_that_makes_no_sense_ends_with_2(
    slither: Command, arguments: list[str], words: str
) -> None:
    done = slither(*arguments, input="")
    assert done.returncode == 2, done.stderr
    assert words in done.stderr


def test_check_draws_and_validates(slither: Command, tmp_path: Path) -> None:
    done = slither("check", "my_pipes.py:scored")
    assert done.returncode == 0
    assert done.stdout.startswith("pipe scored\n")
    assert slither("check", "--mermaid", "my_pipes.py:scored").stdout.startswith("flowchart")
    (tmp_path / "bad.py").write_text(
        "from slither import Pipe\np = Pipe('p').batch('b', size=0)\n"
    )
    bad = slither("check", "bad.py")
    assert bad.returncode == 1
    assert "bad.py:2" in bad.stderr


def test_doctor_is_content_here(slither: Command) -> None:
    done = slither("doctor")
    assert done.returncode == 0, done.stdout
    assert "MISS" not in done.stdout
    assert "OTP" in done.stdout


def test_doctor_says_what_is_missing(slither: Command, tmp_path: Path) -> None:
    done = slither("doctor", env={"PATH": str(tmp_path), "PYTHONPATH": os.environ["PYTHONPATH"]})
    assert done.returncode == 3
    assert "MISS erl" in done.stdout
    assert "Install Erlang/OTP 25 or newer" in done.stdout
    run = slither(
        *("run", "my_pipes.py:scored"),
        env={"PATH": str(tmp_path), "PYTHONPATH": os.environ["PYTHONPATH"]},
        input="",
    )
    assert run.returncode == 3
    old = tmp_path / "erl"
    old.write_text("#!/bin/sh\nprintf 24\n")
    old.chmod(0o755)
    done = slither("doctor", env={**os.environ, "SLITHER_ERL": str(old)})
    assert done.returncode == 3
    assert "OTP 24 at" in done.stdout
    old.write_text("#!/bin/sh\nprintf '25 compiler'\n")
    done = slither("doctor", env={**os.environ, "SLITHER_ERL": str(old)})
    assert done.returncode == 3
    assert "lacks of Erlang: compiler. Install" in done.stdout


def test_lines_are_written_whole(tmp_path: Path) -> None:
    lines = Lines(str(tmp_path / "a"), "jsonl")
    for n in range(10_000):
        lines.write({"n": n})
    lines.close()
    assert len((tmp_path / "a").read_text().splitlines()) == 10_000
    with pytest.raises(RowError, match=r"row 1: a range can't be written as JSON"):
        Lines(str(tmp_path / "b"), "jsonl").write([range(1)])


AS_JSON: list[tuple[Payload, Payload]] = [
    (datetime.date(2024, 1, 2), "2024-01-02"),
    (datetime.time(1, 2, 3), "01:02:03"),
    (datetime.datetime(2024, 1, 2, 3), "2024-01-02T03:00:00"),
    (datetime.datetime(2024, 1, 2, tzinfo=ZoneInfo("Asia/Tokyo")), "2024-01-02T00:00:00+09:00"),
    (datetime.timedelta(days=1, milliseconds=5), 86400.005),
    (Decimal("1.50"), "1.50"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Path("/a/é"), "/a/é"),
    (1 - 2j, [1.0, -2.0]),
    (b"ab", "YWI="),
    ((1, ("a",)), [1, ["a"]]),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    (Tagged("shop.Money", (5, Decimal(1))), [5, "1"]),
    (np.array(["2024-01-02"], "M8[D]"), ["2024-01-02"]),
    (np.array([b"ab"]), ["YWI="]),
    (np.zeros(1, [("a", "i4"), ("b", "S1")]), [[0, ""]]),
    (np.array([1j]), [[0.0, 1.0]]),
    (np.longdouble(0.5), 0.5),
    (np.timedelta64(3, "s"), 3.0),
    (2**70, 2**70),
]


@pytest.mark.parametrize(("value", "written"), AS_JSON, ids=lambda one: repr(one)[:30])
def test_all_values_have_a_form_in_json_and_csv(value: Payload, written: Payload) -> None:
    assert json.loads(to_json({"a": [value]})) == {"a": [written]}
    line = CsvLines()({"a": value})
    text = written if isinstance(written, str) else json.dumps(written)
    assert next(csv.DictReader(line.splitlines()))["a"] == text


def test_all_keys_have_a_form_in_json() -> None:
    value = {(1, "a"): 1, Decimal("1.50"): {datetime.date(2024, 1, 2): {b"x": [{None: 1}]}}, 2: 2}
    assert json.loads(to_json([value])) == [
        {'[1, "a"]': 1, "1.50": {"2024-01-02": {"eA==": [{"null": 1}]}}, "2": 2}
    ]


def test_csv_has_the_columns_of_its_first_row() -> None:
    encode = CsvLines()
    assert encode({"a": 1, "b": [1, "x"]}) == 'a,b\n1,"[1, ""x""]"\n'
    assert encode({"b": None, "a": "q"}) == "q,\n"
    with pytest.raises(ValueError, match="other columns than the first row: b, c"):
        encode({"a": 1, "c": 2})
    with pytest.raises(TypeError, match="CSV takes dicts, not a int"):
        encode(5)
