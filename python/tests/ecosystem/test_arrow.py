"""Tables of data: what crosses as Arrow, what comes back, and what is refused."""

from __future__ import annotations

import math
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import framing
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import slither
from slither import Arrow, EncodeError
from slither._types import Payload
from slither._wire.codec import decode, encode
from slither._wire.types import arrow

NOW = datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)


def there_and_back(value: Payload) -> Payload:
    return decode(encode([value]))[0]


def stream(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def table_of_many() -> pa.Table:
    return pa.table(
        {
            "int": pa.array([1, None], pa.int8()),
            "large": pa.array([1 << 63, 0], pa.uint64()),
            "half": pa.array([1.5, None], pa.float16()),
            "text": ["a", None],
            "data": pa.array([b"\xff", None], pa.large_binary()),
            "bool": [True, None],
            "day": [NOW.date(), None],
            "when": pa.array([NOW, None], pa.timestamp("ns", "Europe/Berlin")),
            "naive": pa.array([NOW.replace(tzinfo=None), None], pa.timestamp("s")),
            "span": pa.array([timedelta(1), None], pa.duration("ms")),
            "price": pa.array([Decimal("1.50"), None], pa.decimal256(50, 2)),
            "list": [[1, None], None],
            "fixed": pa.array([[1, 2], None], pa.list_(pa.int64(), 2)),
            "struct": [{"a": {"b": None}}, None],
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "kind": pa.array(["x", None]).dictionary_encode(),
            "none": pa.nulls(2),
            "é 🙂": [1, 2],
        },
        metadata={"of": "ours"},
    )


TABLES = {
    "many types": table_of_many(),
    "no columns": pa.table({}),
    "no rows": pa.table({"a": pa.array([], pa.int64())}),
    "chunks": pa.concat_tables([pa.table({"a": [1, 2]}), pa.table({"a": [3]})]),
    "a slice": pa.table({"a": list(range(100)), "b": [None, "x"] * 50}).slice(3, 4),
    "two of a name": pa.table([pa.array([1]), pa.array(["x"])], names=["a", "a"]),
    "dictionaries that differ": pa.concat_tables(
        [
            pa.table({"k": pa.array(["a"]).dictionary_encode()}),
            pa.table({"k": pa.array(["b"]).dictionary_encode()}),
        ]
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back(name: str) -> None:
    table = TABLES[name]
    found = there_and_back(table)
    assert type(found) is pa.Table
    assert found.equals(table, check_metadata=True)
    if table.num_columns:
        batch = table.combine_chunks().to_batches()
        for one in batch:
            found = there_and_back(one)
            assert type(found) is pa.RecordBatch
            assert found.equals(one, check_metadata=True)


def test_a_batch_of_no_rows_comes_back() -> None:
    batch = pa.record_batch({"a": pa.array([], pa.int64())})
    assert there_and_back(batch).equals(batch)


FRAMES: dict[str, pd.DataFrame] = {
    "numbers": pd.DataFrame({"a": [1, 2], "b": [1.5, math.nan], "c": [True, False]}),
    "small ones": pd.DataFrame({"a": np.array([1, 2], "int8"), "b": np.array([1, 2], "f4")}),
    "text": pd.DataFrame({"a": ["x", None]}),
    "objects of text": pd.DataFrame({"a": pd.Series(["x", None], dtype=object)}),
    "objects of whole numbers": pd.DataFrame({"a": pd.Series([1, None], dtype=object)}),
    "objects of dates": pd.DataFrame({"a": [date(2024, 1, 2), None]}),
    "objects of times": pd.DataFrame({"a": [time(1, 2, 3), None]}),
    "objects of decimals": pd.DataFrame({"a": [Decimal("1.50"), None]}),
    "objects of bytes": pd.DataFrame({"a": [b"\xff", None]}),
    "datetimes": pd.DataFrame({"a": pd.to_datetime(["2024-01-02", None])}),
    "nanoseconds": pd.DataFrame({"a": [pd.Timestamp("2024-01-02T00:00:00.000000001")]}),
    "zones": pd.DataFrame({"a": pd.to_datetime(["2024-01-02"]).tz_localize("Europe/Berlin")}),
    "spans": pd.DataFrame({"a": pd.to_timedelta([1, None], unit="s")}),
    "categories": pd.DataFrame({"a": pd.Categorical(["x", "y", "x"], ["y", "x"], ordered=True)}),
    "nullable": pd.DataFrame(
        {
            "a": pd.array([1, None], "Int64"),
            "b": pd.array([True, None], "boolean"),
            "c": pd.array(["x", None], "string"),
            "d": pd.array([1.5, None], "Float32"),
        }
    ),
    "of Arrow": pd.DataFrame({"a": pd.array([1, None], "int64[pyarrow]")}),
    "an index of text": pd.DataFrame({"a": [1, 2]}, index=["x", "y"]),
    "an index of datetimes": pd.DataFrame({"a": [1]}, index=pd.to_datetime(["2024-01-02"])),
    "a named index": pd.DataFrame({"a": [1, 2]}, index=pd.Index([5, 7], name="id")),
    "a range": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(10, 14, 2, name="r")),
    "levels": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", None])
    ),
    "levels of columns": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("x", "a"), ("x", "b")])
    ),
    "columns of numbers": pd.DataFrame({0: [1], 1: [2]}),
    "periods": pd.DataFrame({"a": pd.period_range("2024-01", periods=2, freq="M")}),
    "intervals": pd.DataFrame({"a": pd.interval_range(0, 2)}),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="int64")}),
    "no columns": pd.DataFrame(index=[1, 2]),
    "nothing": pd.DataFrame(),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_pandas_frame_comes_back(name: str) -> None:
    frame = FRAMES[name]
    found = there_and_back(frame)
    assert type(found) is pd.DataFrame
    pd.testing.assert_frame_equal(found, frame, check_freq=False)


def test_what_pyarrow_alone_would_change_of_a_pandas_frame_stays() -> None:
    frame = pd.DataFrame(
        {
            "lists": [[1, [2]][:1], None],
            "deep": [[[1], []], None],
            "arrays": [np.array([1, 2]), None],
            "dicts": [{"c": 1, "d": None}, {"c": None, "d": [1.5]}],
            "nan": pd.Series(["x", math.nan], dtype=object),
            "na": pd.Series(["x", pd.NA], dtype=object),
            "nat": pd.Series([date(2024, 1, 2), pd.NaT], dtype=object),
            "all nan": pd.Series([math.nan, math.nan], dtype=object),
            "numbers": pd.Series([1.5, math.nan], dtype=object),
        },
        index=pd.date_range("2024", periods=2, freq="2D"),
    )
    frame.attrs = {"of": [1]}
    found = there_and_back(frame)
    for name in frame:
        cells, came = frame[name].tolist(), found[name].tolist()
        assert list(map(type, came)) == list(map(type, cells)), name
        assert repr(came) == repr(cells), name
    assert found.index.freq == frame.index.freq
    assert found.attrs == frame.attrs
    assert found.dtypes.tolist() == frame.dtypes.tolist()


def test_a_pandas_frame_that_came_can_be_written() -> None:
    found = there_and_back(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    found.loc[0, "a"] = 5
    found["c"] = found["a"] * 2
    assert found["c"].tolist() == [10, 4]


POLARS = {
    "many": pl.DataFrame(
        {
            "enum": pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"])),
            "kind": pl.Series(["x", None], dtype=pl.Categorical),
            "price": [Decimal("1.5"), None],
            "span": [timedelta(1), None],
            "struct": [{"a": 1}, {"a": None}],
            "list": [[1], [2, 3]],
            "array": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
            "none": [None, None],
            "data": [b"\xff", None],
            "time": [time(1), None],
            "when": pl.Series([NOW, None], dtype=pl.Datetime("ns", "Europe/Berlin")),
            "text": ["a", None],
            "huge": pl.Series([1 << 100, None], dtype=pl.Int128),
        }
    ),
    "no rows": pl.DataFrame({"a": []}),
    "nothing": pl.DataFrame(),
}


@pytest.mark.parametrize("name", POLARS)
def test_a_polars_frame_comes_back(name: str) -> None:
    frame = POLARS[name]
    found = there_and_back(frame)
    assert type(found) is pl.DataFrame
    assert found.schema == frame.schema
    assert found.equals(frame)


def test_tables_within_other_values_and_in_one_batch() -> None:
    table = pa.table({"a": [1]})
    found = there_and_back({"x": [table, (table, pl.DataFrame({"a": [1]}))]})
    assert found["x"][0].equals(table)
    assert found["x"][1][0].equals(table)


## Refusals

Refused = tuple[Callable[[], Payload], str]
REFUSED: dict[str, Refused] = {
    "a series of pandas": (lambda: pd.Series([1]), r"a pandas.Series.*\.to_frame\(\)"),
    "an index": (lambda: pd.Index([1]), r"an Index cannot be sent; send \.tolist\(\)"),
    "a series of polars": (lambda: pl.Series([1]), r"a polars.Series.*\.to_frame\(\)"),
    "a lazy frame": (lambda: pl.LazyFrame({"a": [1]}), r"send \.collect\(\)"),
    "chunks": (lambda: pa.chunked_array([[1]]), r"a pyarrow.ChunkedArray.*in a table"),
    "objects in pandas": (lambda: pd.DataFrame({"a": [object()]}), r"column a"),
    "two types in a column": (lambda: pd.DataFrame({"a": [1, "x"]}), r"column a"),
    "dicts of other keys": (
        lambda: pd.DataFrame({"a": [{"x": 1}, {"y": 2}]}),
        r"column 'a' of objects has \{'x': 1\}, which comes as \{'x': 1, 'y': None\}",
    ),
    "sets as cells": (
        lambda: pd.DataFrame({"a": [{1}]}),
        r"column 'a' of objects has cells of the type set, which come as lists",
    ),
    "tuples among lists": (lambda: pd.DataFrame({"a": [[1], (1,)]}), r"cells of the type tuple"),
    "objects of two kinds of numbers": (
        lambda: pd.DataFrame({"a": pd.Series([1, 2.5], dtype=object)}),
        r"column 'a' of objects has 1, which comes as 1.0; give it one type",
    ),
    "columns of one name": (
        lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]),
        r"Duplicate column names",
    ),
    "objects in polars": (
        lambda: pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}),
        r"the column 'o' of Python objects.*send \.to_dicts\(\)",
    ),
    "a name that is too long": (
        lambda: pa.table({"a" * 65_536: [1]}),
        r"a column's name has 65536 bytes",
    ),
    "too many columns": (
        lambda: pa.table([pa.array([1])] * 65_536, names=list(map(str, range(65_536)))),
        r"a table of 65536 columns cannot be sent",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name: str) -> None:
    make, why = REFUSED[name]
    with pytest.raises(EncodeError, match=why) as caught:
        encode({"frame": [make()]}, "payload")
    assert caught.value.path.startswith('payload["frame"][0]')


def test_a_table_can_not_be_a_key() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Arrow("table", (), 0, b""))


## Without a package, and what can't be read


def test_without_pyarrow_a_table_is_opaque_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"name": ["a"], "score": [1]})
    sent = {kind: encode(value) for kind, value in (("table", table), ("pandas", FRAMES["text"]))}

    def missing() -> None:
        raise ImportError("tables of data need pyarrow")

    monkeypatch.setattr(arrow, "_pyarrow", missing)
    found = decode(sent["table"])
    assert found == Arrow("table", ("name", "score"), 1, stream(table))
    assert encode(found) == sent["table"]
    assert repr(found).startswith("<slither.Arrow: table of 1 rows: name, score, ")
    with pytest.raises(ImportError, match="need pyarrow"):
        found.read()
    assert decode(sent["pandas"]).kind == "pandas"
    with pytest.raises(EncodeError, match=r"pandas\.DataFrame.*pyarrow.*to_dict\('records'\)"):
        encode(FRAMES["text"])
    monkeypatch.undo()
    assert found.read().equals(table)


@pytest.mark.parametrize("kind", arrow.KINDS)
def test_data_that_is_no_table_fails_nobody_but_who_reads_it(kind: str) -> None:
    made = Arrow(kind, ["a"], 1, b"no stream of Arrow")
    found = there_and_back(made)
    assert found == made
    with pytest.raises(ValueError, match="no table that can be read here"):
        found.read()


def test_an_arrow_by_hand_is_looked_at_when_it_is_sent() -> None:
    for odd in (Arrow("numpy", (), 0, b""), Arrow("table", (), -1, b"")):
        with pytest.raises(EncodeError, match=r"kind 'numpy'|rows are an integer"):
            encode(odd)
    data = stream(pa.table({"a": [1]}))
    assert there_and_back(Arrow("table", ("a",), 1, data)).to_pylist() == [{"a": 1}]


def test_offsets_that_point_beyond_the_data_are_found_when_it_comes() -> None:
    """Whoever looked there would crash."""
    data = bytearray(stream(pa.table({"text": pa.array(["abc", "de"], pa.string())})))
    offsets = struct.pack("<3i", 0, 3, 5)
    at = data.index(offsets)
    data[at : at + 12] = struct.pack("<3i", 0, 3, 1 << 30)
    found = there_and_back(Arrow("table", ("text",), 2, bytes(data)))
    assert isinstance(found, Arrow)


MUTATED = """
import contextlib, random, sys
import pandas, polars, pyarrow
from slither import Arrow
from slither._wire.codec import decode, encode
sys.stderr.close()
made = {made!r}
rng = random.Random({seed})
for _ in range(1_500):
    kind = rng.choice(["table", "record_batch", "pandas", "polars"])
    data = bytearray(bytes.fromhex(rng.choice(made)))
    for _ in range(rng.randint(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    found = decode(encode(Arrow(kind, ["a"], 1, bytes(data))))
    if not isinstance(found, Arrow):
        # Years and names of columns may be none: that is an exception, and no crash.
        with contextlib.suppress(Exception):
            str(found)
print("whole")
"""


def test_mutated_tables_crash_nobody() -> None:
    simple = pa.table({"a": [1, None], "s": ["x", "y"], "l": [[1], None]})
    many = table_of_many().drop_columns(["half"])
    code = MUTATED.format(
        made=[stream(simple).hex(), stream(many).hex()], seed=random.randrange(1 << 30)
    )
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout == "whole\n", (code[-400:], done.returncode)


## Copies


def test_a_table_is_copied_once_on_its_way_out_and_not_at_all_on_its_way_in() -> None:
    table = pa.table({"a": np.arange(4_000_000), "b": np.random.rand(4_000_000)})
    size = table.nbytes
    before = pa.total_allocated_bytes()
    payload = arrow.encode(table)
    assert size < len(payload) < size + 10_000
    data = bytes(payload)
    del payload
    found = arrow.decode(data)
    # pyarrow allocates nothing: the columns are where the payload is.
    assert pa.total_allocated_bytes() - before < 100_000
    place = np.frombuffer(data, "u1").ctypes.data
    assert place < found["a"].chunk(0).buffers()[1].address < place + len(data)
    assert found.equals(table)


## Over a live BEAM

LIVE: dict[str, Payload] = {
    "table": table_of_many().drop_columns(["half"]),
    "batch": pa.record_batch({"a": [1, None]}),
    "pandas": FRAMES["levels"],
    "polars": POLARS["many"],
}


def same(one: Payload, other: Payload) -> bool:
    return type(one) is type(other) and bool(one.equals(other))


def test_tables_go_through_maps_calls_pipes_and_stores(beam: slither.Beam) -> None:
    values = list(LIVE.values())
    echoed = list(beam.map(framing.same, values))
    assert all(map(same, echoed, values))
    for value in values:
        assert same(beam.submit(framing.same, value).result(), value)
        beam.table("tables of Arrow")["one"] = value
        assert same(beam.table("tables of Arrow")["one"], value)
    pipe = slither.Pipe("same").python("same", framing.same).beam("beam", {"it": slither.item})
    through = beam.run(pipe, values)["default"]
    assert all(same(one["it"], value) for one, value in zip(through, values, strict=True))


def test_a_large_table_goes_whole(beam: slither.Beam) -> None:
    table = pa.table({"a": np.arange(1_000_000), "s": ["row"] * 1_000_000})
    assert beam.submit(framing.same, table).result().equals(table)


def test_what_is_refused_fails_its_item(beam: slither.Beam) -> None:
    items = [{"frame": FRAMES["numbers"]}, {"frame": pl.LazyFrame({"a": [1]})}]
    good: Payload
    good, bad = beam.map(framing.same, items, on_error="return")
    pd.testing.assert_frame_equal(good["frame"], FRAMES["numbers"])
    assert isinstance(bad, EncodeError)
    assert ".collect()" in str(bad)


def test_what_arrow_would_change_goes_by_value_where_that_is_allowed(escript: Path) -> None:
    odd = pd.DataFrame({"sets": [{1, 2}, {3}], "mixed": [1, "x"]})
    with slither.Beam(workers=1, by_value=True) as beam:
        assert beam.submit(lambda frame: frame, odd).result().equals(odd)
        assert beam.submit(lambda column: column * 2, pd.Series([1, 2])).result().tolist() == [
            2,
            4,
        ]
        rows = [{"n": 1}, {"n": 2}]
        doubled = beam.map(lambda frame: frame.assign(n=frame["n"] * 2), rows, as_="pandas")
        assert list(doubled) == [{"n": 2}, {"n": 4}]


## Any table

TYPES: dict[pa.DataType, st.SearchStrategy[Payload]] = {
    pa.int64(): st.integers(-(1 << 63), (1 << 63) - 1),
    pa.uint8(): st.integers(0, 255),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.large_binary(): st.binary(max_size=5),
    pa.list_(pa.string()): st.lists(st.none() | st.text(max_size=3), max_size=3),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(timezone.utc)),
    pa.duration("s"): st.timedeltas().map(lambda span: timedelta(span.days)),
    pa.decimal128(38, 5): st.decimals(-(10**9), 10**9, places=5),
    pa.null(): st.none(),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 5))
    types = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=4))
    names = draw(
        st.lists(st.text(max_size=4), min_size=len(types), max_size=len(types), unique=True)
    )
    columns = [
        pa.array(draw(st.lists(st.none() | TYPES[kind], min_size=rows, max_size=rows)), kind)
        for kind in types
    ]
    return pa.table(columns, names=names)


def is_one(one: pa.Table, other: pa.Table) -> bool:
    # A NaN is not equal to itself.
    return bool(one.schema.equals(other.schema)) and repr(one.to_pydict()) == repr(
        other.to_pydict()
    )


@settings(deadline=None)
@given(tables())
def test_any_table_comes_back(table: pa.Table) -> None:
    assert is_one(there_and_back(table), table)
    sent = Arrow("table", table.schema.names, table.num_rows, stream(table))
    assert is_one(there_and_back(sent), table)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    assert there_and_back(frame).equals(frame)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(tables(), min_size=1, max_size=4))
def test_any_tables_come_back_from_a_live_beam(
    beam: slither.Beam, values: list[pa.Table]
) -> None:
    assert all(map(is_one, beam.map(framing.same, values), values))
