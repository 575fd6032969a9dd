"""`slither run` over Parquet and Arrow files: what it reads, writes and refuses."""

from __future__ import annotations

import builtins
import errno
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import ipc

from slither._cli import columnar, tables
from slither._cli.columnar import TableFault
from slither._cli.reading import InputRefused
from slither._cli.tables import Table
from slither._cli.writing import RowError

PIPES = """
from slither import Pipe, item
scored = (
    Pipe("scored").beam("score", {"n": item["n"], "name": item["name"], "half": item["n"] / 2})
    .route("route", high=item["n"] >= 3).output("high")
)
same = Pipe("same").python("same", "builtins:dict", each=True)

def positive(row):
    return {"n": +row["n"]}

stopping = Pipe("stopping").python("positive", positive, batch_size=2)

def double(frame):
    return frame.assign(n=frame["n"] * 2)

doubled = Pipe("doubled").python("double", double, as_="pandas")
"""

ROWS: list[dict[str, Any]] = [{"n": n, "name": f"row {n}" if n else None} for n in range(5)]
SCORED = [{**row, "half": row["n"] / 2} for row in ROWS]
Command = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def command(escript: Path, tmp_path: Path) -> Command:
    (tmp_path / "my_pipes.py").write_text(PIPES)

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "slither", "run", *arguments, "--workers", "1"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, **options)

    return run


def arrow(table: pa.Table, *, stream: bool = False) -> bytes:
    out = io.BytesIO()
    with (ipc.new_stream if stream else ipc.new_file)(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def read(data: bytes, kind: str = "arrow") -> list[Any]:
    return list(columnar.read(io.BufferedReader(io.BytesIO(data)), "f", kind))


def parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


## Whole runs


def test_parquet_in_and_out(command: Command, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "data.parquet")
    done = command(
        *("my_pipes.py:scored", "--input", "data.parquet", "--output", "out", "--to", "parquet")
    )
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "out/high.parquet").to_pylist() == SCORED[3:]
    assert pd.read_parquet(tmp_path / "out/default.parquet")["n"].tolist() == [0, 1, 2]


def test_arrow_in_and_out(command: Command, tmp_path: Path) -> None:
    (tmp_path / "data.arrow").write_bytes(arrow(pa.Table.from_pylist(ROWS)))
    done = command(
        *("my_pipes.py:scored", "--input", "data.arrow", "--output", "out", "--to", "arrow")
    )
    assert done.returncode == 0, done.stderr
    assert pl.read_ipc(tmp_path / "out/high.arrow").to_dicts() == SCORED[3:]
    assert pd.read_feather(tmp_path / "out/default.arrow")["n"].tolist() == [0, 1, 2]


def test_arrow_from_stdin_to_stdout_and_batches_as_frames(command: Command) -> None:
    data = arrow(pa.Table.from_pylist(ROWS), stream=True)
    done = command(
        *("my_pipes.py:doubled", "--from", "arrow", "--to", "arrow", "--only", "default"),
        input=data,
    )
    assert done.returncode == 0, done.stderr
    found = ipc.open_file(done.stdout).read_all().to_pylist()
    assert found == [{**row, "n": row["n"] * 2} for row in ROWS]


def test_an_output_of_no_rows_is_a_file_of_its_kind(command: Command, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS[:1]), tmp_path / "data.parquet")
    for kind in columnar.FORMATS:
        done = command(
            *("my_pipes.py:scored", "--input", "data.parquet", "--output", "out", "--to", kind)
        )
        assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "out/high.parquet").num_rows == 0
    assert ipc.open_file((tmp_path / "out/high.arrow").read_bytes()).read_all().num_rows == 0


def test_what_a_stopped_run_had_finished_is_a_whole_file(
    command: Command, tmp_path: Path
) -> None:
    lines = [json.dumps({"n": n}) for n in range(20)] + ['{"n": "x"}']
    (tmp_path / "data.jsonl").write_text("\n".join(lines) + "\n")
    done = command(
        *("my_pipes.py:stopping", "--input", "data.jsonl", "--output", "out", "--to", "parquet")
    )
    assert done.returncode == 1
    assert b"bad operand" in done.stderr
    assert pq.read_table(tmp_path / "out/default.parquet").num_rows == 20
    assert b"default.parquet (20 rows)" in done.stderr


def test_a_row_that_can_not_be_sent_is_named(command: Command, tmp_path: Path) -> None:
    when = pa.array([0, 1_000, 1_500], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"n": [1, 2, 3], "when": when}), tmp_path / "data.parquet")
    run = ("my_pipes.py:doubled", "--input", "data.parquet", "--output", "out")
    done = command(*run)
    assert done.returncode == 1
    assert b"data.parquet, row 3: column 'when', timestamp[ns, tz=UTC]: " in done.stderr
    done = command(*run, "--on-bad-row", "bad.jsonl")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out/default.jsonl").read_text().splitlines()) == 2
    bad = json.loads((tmp_path / "bad.jsonl").read_text())
    assert (bad["file"], bad["line"]) == ("data.parquet", 3)


def test_what_can_not_be_read_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_bytes(b"nothing of that kind")
    done = command("my_pipes.py:same", "--input", "no.parquet")
    assert done.returncode == 1
    assert b"no.parquet: can't be read as parquet: " in done.stderr


def test_what_is_read_from_its_end_may_be_gzipped_or_come_through_a_pipe(
    command: Command, tmp_path: Path
) -> None:
    data = parquet(pa.Table.from_pylist(ROWS))
    (tmp_path / "packed.parquet.gz").write_bytes(gzip.compress(data))
    run = ("my_pipes.py:same", "--quiet", "--only", "default")
    files = command(*run, "--input", "packed.parquet.gz")
    pipe = command(*run, "--from", "parquet", input=data)
    assert files.stderr == pipe.stderr == b""
    assert files.stdout == pipe.stdout
    assert [json.loads(line) for line in pipe.stdout.splitlines()] == ROWS


## Reading


def test_a_file_a_stream_and_what_is_gzipped_have_the_same_rows() -> None:
    table = pa.Table.from_pylist(ROWS)
    for data in (arrow(table), arrow(table, stream=True)):
        assert read(data) == ROWS
        assert read(gzip.compress(data)) == ROWS
    assert read(parquet(table), "parquet") == ROWS
    assert read(gzip.compress(parquet(table)), "parquet") == ROWS
    out = io.BytesIO()
    pl.DataFrame(ROWS).write_ipc(out, compression="zstd")
    assert read(out.getvalue()) == ROWS
    assert read(gzip.compress(out.getvalue())) == ROWS


def test_columns_of_many_types_are_values() -> None:
    when = datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)
    table = pa.table(
        {
            "whole": pa.array([1], pa.uint64()),
            "price": pa.array([Decimal("1.50")], pa.decimal128(10, 2)),
            "when": pa.array([when], pa.timestamp("ns", "UTC")),
            "day": pa.array([when.date()], pa.date32()),
            "time": pa.array([when.time()], pa.time64("ns")),
            "data": pa.array([b"\xff"], pa.large_binary()),
            "list": pa.array([[1, None]], pa.list_(pa.int8())),
            "struct": pa.array([{"a": {"b": 1}}]),
            "kind": pa.array(["x"]).dictionary_encode(),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "none": pa.nulls(1),
        }
    )
    row: dict[str, Any] = {
        **{"whole": 1, "price": Decimal("1.50"), "when": when, "day": when.date()},
        **{"time": when.time(), "data": b"\xff", "list": [1, None], "struct": {"a": {"b": 1}}},
        **{"kind": "x", "map": {"k": 1}, "none": None},
    }
    assert read(arrow(table)) == [row]
    assert read(parquet(table), "parquet") == [row]


def test_rows_come_a_group_at_a_time() -> None:
    """Of a file of many groups little more than one is in memory."""
    table = pa.table({"n": range(200_000), "text": ["x" * 100] * 200_000})
    data = parquet(table, row_group_size=10_000, use_dictionary=False, compression="none")
    rows = columnar.read(io.BufferedReader(io.BytesIO(data)), "f", "parquet")
    del table
    before = pa.total_allocated_bytes()
    most = 0
    for number, row in enumerate(rows):
        assert isinstance(row, dict)
        assert row["n"] == number
        if number % 1_000 == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    assert len(data) > 20_000_000
    assert most < 5_000_000


def test_only_rows_at_fault_are_faults() -> None:
    when = pa.array([*range(0, 3_000_000, 1_000), 1, 5_000], pa.timestamp("ns"))
    rows = read(arrow(pa.table({"when": when})))
    assert len(rows) == 3_002
    faults = [row for row in rows if isinstance(row, TableFault)]
    assert [fault.place for fault in faults] == ["row 3001"]


def test_two_columns_of_a_name_and_older_formats_are_refused() -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(InputRefused, match="two columns are named 'a'"):
        read(arrow(twice))
    with pytest.raises(InputRefused, match="Feather of version 1"):
        read(b"FEA1" + bytes(20))
    with pytest.raises(InputRefused, match="f: can't be read as arrow"):
        read(b"")
    cut = arrow(pa.table({"n": range(5_000)}), stream=True)[:-20_000]
    with pytest.raises(InputRefused, match="can't be read as arrow"):
        read(cut)


def test_without_pyarrow_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return plain(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(columnar.PackageMissing, match=r"slither-beam\[arrow\]"):
        Table("out.parquet", "parquet")


## Writing


@pytest.mark.parametrize("kind", columnar.FORMATS)
def test_rows_are_written_in_groups(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_ROWS", 10)
    path = tmp_path / f"a.{kind}"
    table = Table(str(path), kind)
    price = Decimal("1.50")
    rows = [{"n": n, "price": price if n % 2 else None, "more": [n]} for n in range(25)]
    for row in rows:
        table.write(row)
    assert table.kept == 20
    table.close()
    assert table.kept == table.count == 25
    assert read(path.read_bytes(), kind) == rows


def test_cells_that_arrow_has_no_type_for_are_as_in_json(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "a"), "arrow")
    array = pa.array([1.5, 2.5]).to_numpy()
    odd = {"uuid": UUID(int=5), "set": {1}, "path": Path("/x"), "complex": 1 + 2j}
    table.write(
        {"list": (1, 2), "array": array, 3: "key", "frame": pl.DataFrame({"a": [1]}), **odd}
    )
    table.close()
    row = {
        **{"list": [1, 2], "array": [1.5, 2.5], "3": "key", "frame": [{"a": 1}]},
        **{"uuid": str(odd["uuid"]), "set": [1], "path": "/x", "complex": [1.0, 2.0]},
    }
    assert read((tmp_path / "a").read_bytes()) == [row]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"n": "x"}, r"row 16: column 'n': the first rows have int64, and this one: "),
        ({"n": 2.5}, r"row 16: column 'n': the first rows have int64, and this one: it has"),
        ({"n": True}, r"row 16: column 'n': the first rows have int64, and this one: "),
        ({"n": 1, "more": ["x"]}, r"row 16: column 'more': the first rows have list<"),
        ({"n": 1, "new": 1}, r"row 16: column 'new': the first rows have no such column"),
        (5, r"row 16: parquet takes dicts, not a int; write --to jsonl"),
    ],
)
def test_a_row_that_does_not_go_with_the_first_is_named_and_those_before_it_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: object, why: str
) -> None:
    monkeypatch.setattr(tables, "_ROWS", 10)
    path = tmp_path / "a.parquet"
    table = Table(str(path), "parquet")
    for n in range(15):
        table.write({"n": n, "more": [n]})
    with pytest.raises(RowError, match=why):  # noqa: PT012 - some are found at the end alone
        table.write(row)
        table.close()
    table.close()
    assert [row["n"] for row in read(path.read_bytes(), "parquet")] == list(range(15))


def test_a_row_of_the_first_group_is_named_too(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "a"), "parquet")
    for n in range(5):
        table.write({"n": n, "text": "x"})
    table.write({"n": "five", "text": "x"})
    table.write({"n": 6, "text": 6})
    with pytest.raises(RowError, match=r"row 6: column 'n': "):
        table.close()
    assert table.kept == 5


def test_a_full_disk_leaves_no_half_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_ROWS", 10)
    path = tmp_path / "a.parquet"
    table = Table(str(path), "parquet")
    for n in range(10):
        table.write({"n": n})

    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - the tenth fills a group
        for n in range(10):
            table.write({"n": n})
    table.close()
    assert table.kept == 0
    assert path.read_bytes() == b""


def test_a_file_that_nothing_was_written_to_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("before")
    Table(str(path), "parquet").abandon()
    assert path.read_text() == "before"
