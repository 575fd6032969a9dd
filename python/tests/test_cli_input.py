"""What ``slither run`` makes of files as they are found: odd, broken, compressed, its own."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slither._cli import reading
from slither._cli.failures import BadRows
from slither._cli.reading import InputRefused, Lines, RowFault
from slither._cli.writing import CsvLines
from slither._types import Payload

PIPES = """
import os, subprocess, sys
from slither import Pipe, item
from slither.pipe import retry, route

print("while it is loaded")

def echo(rows: list) -> list:
    print("print of a handler")
    os.write(1, b"write of a library\\n")
    subprocess.run(["echo", "echo of a child"])
    return rows

def odd(row):
    if int(row["n"]) % 2:
        raise ValueError(f"{row['n']} is odd")
    return row

def odds(rows: list) -> list:
    return [odd(row) for row in rows]

loud = Pipe("loud").python("echo", echo, each=False)
copy = Pipe("copy").route("r", copy=item.len() >= 0).output("copy")
dropping = Pipe("dropping").python("odds", odds, batch_size=1).on_error("odds", "skip")
trying = (
    Pipe("trying").python("odds", odds, batch_size=1)
    .on_error("odds", retry(max_attempts=2, base=0.001, then="skip"))
)
sending = (
    Pipe("sending").python("odds", odds, batch_size=1)
    .on_error("odds", route("dead")).output("dead")
)
outer = Pipe("outer").pipe("inner", dropping)
"""

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def slither(escript: Path, tmp_path: Path) -> Command:
    (tmp_path / "pipes.py").write_text(PIPES)

    def run(*arguments: str, **options: Payload) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "slither", "run", *arguments, "--workers", "1"]
        options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, **options
        )

    return run


def read(
    data: bytes, kind: str = "jsonl", encoding: str = "utf-8", **more: Payload
) -> list[Payload]:
    lines = Lines(reading.opened(io.BytesIO(data), encoding), "f", encoding)
    return list(reading.read(lines, kind, more.get("delimiter")))


def fault(data: bytes, kind: str = "jsonl", encoding: str = "utf-8") -> tuple[int, int, str]:
    (found,) = [row for row in read(data, kind, encoding) if isinstance(row, RowFault)]
    return found.line, found.column, found.reason


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_end_in_any_way_and_begin_with_a_mark_or_none(end: str, mark: str) -> None:
    text = mark + end.join(['{"a": "x y"}', '{"a": "ä"}', ""])
    assert read(text.encode()) == [{"a": "x y"}, {"a": "ä"}]
    table = mark + end.join(["a,b", '"x y",1', "ä,2", ""])
    rows = [{"a": "x y", "b": "1"}, {"a": "ä", "b": "2"}]
    assert read(table.encode(), "csv") == rows
    assert read(table.encode("utf-16"), "csv", "utf-16") == rows
    assert read((mark + end.join(["x", "", "y"])).encode(), "lines") == ["x", "", "y"]


def test_a_quoted_header_behind_a_mark_is_a_header() -> None:
    assert read(b'\xef\xbb\xbf"a","b"\r\n1,2\r\n', "csv") == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        (b'{"a": 1}\n{"a": }\n{"a": 3}\n', (2, 7), "not JSON: Expecting value"),
        (b'{"a": 1}\n\n{"a": "\xe4"}\n', (3, 8), "byte 0xe4 is not utf-8; --encoding"),
        (b'{"a": "x\0"}\n', (1, 9), "a NUL character"),
        (b'{"a": 1, "b": 2, "a": 3}\n', (1, 1), "the key 'a' is there twice"),
        (b"[" * 100_000 + b"]" * 100_000 + b"\n", (1, 1), "nests too many|can't be sent"),
        (b"1" * 5_000 + b"\n", (1, 1), "digits|can't be sent"),
        (b'"\\ud800"\n', (1, 1), "can't be sent"),
    ],
)
def test_a_line_that_is_no_json_is_named(data: bytes, place: tuple[int, int], words: str) -> None:
    import re

    *found, reason = fault(data)
    assert tuple(found) == place
    assert re.search(words, reason), reason


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        (b"a,b\n1,2\n3\n", (3, 1), "1 fields, and the header has 2: no field for 'b'"),
        (b"a,b\n1,2,3\n", (2, 1), "field 3 is one too many"),
        (b'a,b\n1,"x"y\n3,4\n', (2, 1), "',' expected after '\"'"),
        (b'a,b\n1,"x\n3,4\n', (2, 1), "a quote is opened, and never closed"),
        (b"a,b\n1,\xe4\n", (2, 3), "byte 0xe4 is not utf-8"),
        (b'a,b\n1,"x\ny\0"\n', (3, 2), "a NUL character"),
    ],
)
def test_a_row_that_is_no_csv_is_named(data: bytes, place: tuple[int, int], words: str) -> None:
    *found, reason = fault(data, "csv")
    assert tuple(found) == place
    assert words in reason


def test_an_open_quote_costs_its_own_line_alone() -> None:
    rows = read(b'a,b\n1,"x\n3,4\n5,"6\n7"\n', "csv")
    assert [row if isinstance(row, dict) else row.line for row in rows] == [
        2,
        {"a": "3", "b": "4"},
        {"a": "5", "b": "6\n7"},
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b,a\n1,2,3\n", "f, line 1, field 3: the header has the column 'a' twice"),
        (b"a,\xe4\n1,2\n", "f, line 1, column 3: the header: byte 0xe4"),
        (gzip.compress(b"a\n" * 9)[:-3], "f, line 10: can't be read: Compressed file ended"),
    ],
)
def test_a_file_that_is_none_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InputRefused, match=words):
        read(data, "csv")


def test_long_fields_are_read_and_too_long_ones_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = b"a\n" + b"x" * 200_000 + b"\n"
    assert read(long, "csv") == [{"a": "x" * 200_000}]
    monkeypatch.setattr(reading, "LONGEST_FIELD", 1_000)
    assert fault(long, "csv")[:2] == (2, 1)
    monkeypatch.setattr(reading, "LONGEST_LINE", 1_000)
    with pytest.raises(InputRefused, match="f, line 2: longer than 1,000 characters"):
        read(long, "csv")


def test_other_delimiters_and_encodings_and_compression() -> None:
    assert read(b"a\tb\n1\t2\n", "tsv") == [{"a": "1", "b": "2"}]
    assert read(b"a;b\n1;2\n", "csv", delimiter=";") == [{"a": "1", "b": "2"}]
    assert read("ä\n".encode("latin-1"), "lines", "latin-1") == ["ä"]
    assert read(gzip.compress(b'{"a": 1}\n') * 2) == [{"a": 1}, {"a": 1}]


def test_csv_that_is_written_is_read_again() -> None:
    row = {"a": "x\ry", "b": 'q"', "c": "l\nm", "d": " "}
    for delimiter in ",\t":
        text = CsvLines(delimiter)(row)
        assert read(text.encode(), "csv", delimiter=delimiter) == [row]


def test_bad_rows_are_counted_among_all() -> None:
    bad = BadRows("f", "skip", None)
    assert list(bad.through(iter(read(b"1\n{\n2\n")))) == [1, 2]
    assert (bad.rows, bad.refused) == (3, 1)


def test_all_that_prints_goes_to_stderr(slither: Command) -> None:
    done = slither("pipes.py:loud", "--quiet", input='{"a": 1}\n{"a": 2}\n')
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["value"] for line in done.stdout.splitlines()] == [
        {"a": 1},
        {"a": 2},
    ]
    for words in (
        "while it is loaded",
        "print of a handler",
        "write of a library",
        "echo of a child",
    ):
        assert words in done.stderr


def test_bad_rows_stop_are_left_out_or_written_down(slither: Command, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"n,t\n0,x\n2\n4,\xe4\n6,z\n")
    command = ("pipes.py:dropping", "--input", "in.csv", "--output", "out", "--quiet")
    stopped = slither(*command)
    assert stopped.returncode == 1
    assert "in.csv, line 3, column 1: 1 fields, and the header has 2" in stopped.stderr
    skipped = slither(*command, "--on-bad-row", "skip")
    assert skipped.returncode == 0, skipped.stderr
    out = (tmp_path / "out/default.jsonl").read_text().splitlines()
    assert [json.loads(line)["n"] for line in out] == ["0", "6"]
    kept = slither(*command, "--on-bad-row", "bad.jsonl", "--max-errors", "1")
    assert kept.returncode == 4
    assert "2 of 4 rows failed, more than --max-errors 1" in kept.stderr
    bad = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"], row["column"], row["text"]) for row in bad] == [
        ("in.csv", 3, 1, "2"),
        ("in.csv", 4, 3, "4,\\xe4"),
    ]
    assert bad[0]["reason"].startswith("1 fields")


@pytest.mark.parametrize("pipe", ["dropping", "trying", "sending", "outer"])
def test_items_that_failed_are_written_down_with_their_error(
    slither: Command, tmp_path: Path, pipe: str
) -> None:
    rows = "".join(json.dumps({"n": n}) + "\n" for n in range(4))
    command = (f"pipes.py:{pipe}", "--output", "out", "--errors", "errors.jsonl")
    done = slither(*command, "--max-errors", "50%", input=rows)
    assert done.returncode == 0, done.stderr
    failed = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert [row["payload"] for row in failed] == [{"n": 1}, {"n": 3}]
    assert failed[0]["error"]["type"] == "ValueError"
    assert "1 is odd" in failed[0]["error"]["message"]
    assert failed[0]["stage"].endswith("odds")
    assert 'raise ValueError(f"{row' in failed[0]["traceback"]
    assert failed[0]["output"] == ("dead" if pipe == "sending" else None)
    assert ("routed       2" if pipe == "sending" else "skipped      2") in done.stderr
    assert sorted(os.listdir(tmp_path / "out")) == (
        ["dead.jsonl", "default.jsonl"] if pipe == "sending" else ["default.jsonl"]
    )
    assert slither(*command, "--max-errors", "1", input=rows).returncode == 4


@pytest.mark.parametrize("format", ["jsonl.gz", "csv.gz", "tsv"])
def test_files_are_written_as_they_are_read(
    slither: Command, tmp_path: Path, format: str
) -> None:
    rows = "".join(json.dumps({"n": n, "t": "a\tb"}) + "\n" for n in range(0, 20_000, 2))
    first = slither("pipes.py:copy", "--output", "out", "--to", format, input=rows)
    assert first.returncode == 0, first.stderr
    path = tmp_path / "out" / f"copy.{format}"
    if format.endswith("gz"):
        assert gzip.decompress(path.read_bytes()).count(b"\n") in (10_000, 10_001)
    second = slither("pipes.py:copy", "--input", str(path), "--only", "copy", "--quiet")
    assert second.returncode == 0, second.stderr
    got = [json.loads(line) for line in second.stdout.splitlines()]
    assert [int(row["n"]) for row in got] == list(range(0, 20_000, 2))
    assert got[0]["t"] == "a\tb"


def linked(tmp_path: Path, kind: str) -> str:
    """Another name of the input."""
    data, other = tmp_path / "copy.jsonl", tmp_path / "data.jsonl"
    data.rename(other)
    (data.symlink_to if kind == "symlink" else data.hardlink_to)(other)
    return "data.jsonl"


@pytest.mark.parametrize("kind", ["path", "symlink", "hardlink", "stdin", "/dev/stdin"])
def test_an_output_never_goes_over_the_input(slither: Command, tmp_path: Path, kind: str) -> None:
    rows = '{"n": 1}\n{"n": 2}\n'
    (tmp_path / "copy.jsonl").write_text(rows)
    name = linked(tmp_path, kind) if kind.endswith("link") else "copy.jsonl"
    with open(tmp_path / name) as file:
        if kind.endswith("stdin"):
            arguments = ("--input", "-" if kind == "stdin" else kind)
            done = slither("pipes.py:copy", *arguments, "--output", ".", stdin=file)
        else:
            done = slither("pipes.py:copy", "--input", name, "--output", ".")
    assert done.returncode == 2, done.stderr
    assert "copy.jsonl is the input: it would be written over" in done.stderr
    assert (tmp_path / "copy.jsonl").read_text() == rows
    assert not (tmp_path / "default.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--errors", "in.jsonl"], "in.jsonl is the input"),
        (["--on-bad-row", "in.jsonl"], "in.jsonl is the input"),
        (["--checkpoint", "in.jsonl"], "the checkpoint in.jsonl is the input"),
        (["--errors", "pipes.py"], "pipes.py is the pipe's file"),
        (["--errors", "out/copy.jsonl", "--output", "out"], "is the output out/copy.jsonl"),
        (["--errors", "e", "--on-bad-row", "./e"], "e is the output"),
    ],
)
def test_no_file_of_a_run_goes_over_another(
    slither: Command, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "in.jsonl").write_text("1\n")
    done = slither("pipes.py:copy", "--input", "in.jsonl", *arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert (tmp_path / "in.jsonl").read_text() == "1\n"
    assert (tmp_path / "pipes.py").read_text() == PIPES
    assert not (tmp_path / "e").exists()


def test_stdout_that_is_the_input_is_refused(slither: Command, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("[1]\n")
    command = f"{sys.executable} -m slither run pipes.py:copy --input in.jsonl >> in.jsonl"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "stdout is the input: it would be written over" in done.stderr
    assert (tmp_path / "in.jsonl").read_text() == "[1]\n"


@pytest.mark.parametrize(
    ("closed", "output", "status"),
    [
        ("2>&-", "", 0),
        (">&-", "--output out", 0),
        (">&- 2>&-", "--output out", 0),
        (">&-", "", 2),
    ],
)
def test_a_closed_stdout_or_stderr_gets_nobody_elses_data(
    slither: Command, tmp_path: Path, closed: str, output: str, status: int
) -> None:
    command = f"{sys.executable} -m slither run pipes.py:loud {output} {closed}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        input="[1]\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    if status == 0:
        text = (tmp_path / "out/default.jsonl").read_text() if output else done.stdout
        assert json.loads(text) == ([1] if output else {"output": "default", "value": [1]})


def test_a_run_that_gets_nowhere_leaves_earlier_outputs(slither: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/copy.jsonl").write_text("before\n")
    done = slither("pipes.py:copy", "--output", "out", input="{oops\n")
    assert done.returncode == 1
    assert "nothing was finished, and no output was written" in done.stderr
    assert (tmp_path / "out/copy.jsonl").read_text() == "before\n"
    assert os.listdir(tmp_path / "out") == ["copy.jsonl"]


def test_a_checkpoint_of_another_input_is_refused_unless_anyway(
    slither: Command, tmp_path: Path
) -> None:
    command = ("pipes.py:dropping", "--output", "out", "--checkpoint", "ck", "--quiet")
    assert slither(*command, input='{"n": 0}\n{"n": 2}\n').returncode == 0
    refused = slither(*command, input='{"n": 0}\n{"n": 4}\n{"n": 6}\n')
    assert refused.returncode == 1
    assert "is of another input: item 1 differs" in refused.stderr
    anyway = slither(*command, "--resume", "anyway", input='{"n": 0}\n{"n": 4}\n{"n": 6}\n')
    assert anyway.returncode == 0, anyway.stderr
    out = (tmp_path / "out/default.jsonl").read_text().splitlines()
    assert [json.loads(line)["n"] for line in out] == [0, 2, 6]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--encoding", "klingon"], "no encoding of text is called 'klingon'"),
        (["--delimiter", "ab"], "one character, or tab, not 'ab'"),
        (["--delimiter", ";"], "--delimiter goes with rows of CSV, not with jsonl"),
        (["--max-errors", "x"], "a number such as 10, or a percentage such as 2%, not 'x'"),
        (
            ["--output", "o.csv.gz"],
            "it is a folder, with a file for each output; write --output o --to csv.gz",
        ),
        (["--errors", "nowhere/e"], "nowhere/e can't be written: No such file"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    slither: Command, arguments: list[str], words: str
) -> None:
    done = slither("pipes.py:copy", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert csv.field_size_limit() >= 0
