from __future__ import annotations

from pathlib import Path

import driven
import pytest

import slither


def test_the_driver_and_its_workers_share_a_table(beam: slither.Beam) -> None:
    counts = beam.store("counts")
    list(beam.map(driven.count_in_table, ["a", "b", "a", "a"] * 50, batch_size=3))
    assert dict(counts) == {"a": 150, "b": 50}


def test_a_table_is_a_mapping(beam: slither.Beam) -> None:
    table = beam.store("mapping")
    table["a"] = {"tier": "gold"}
    table[("b", 1)] = [1.5, None]
    assert table["a"] == {"tier": "gold"}
    assert table.pop(("b", 1)) == [1.5, None]
    assert table.get("c", 7) == 7
    assert "a" in table
    assert len(table) == 1
    with pytest.raises(KeyError):
        del table["c"]
    assert table.setdefault("a", 0) == {"tier": "gold"}
    table.put_many({n: n * n for n in range(1_200)})
    assert sum(value for _, value in table.items() if isinstance(value, int)) == sum(
        n * n for n in range(1_200)
    )
    table.clear()
    assert len(table) == 0


def test_an_ordered_table_is_walked_in_order(beam: slither.Beam) -> None:
    table = beam.store("ordered", type="ordered_set")
    table.put_many({n: None for n in (5, 1, 4, 2, 3)})
    assert list(table) == [1, 2, 3, 4, 5]


def test_a_durable_table_outlives_its_beam(escript: Path, tmp_path: Path) -> None:
    with slither.Beam(workers=1) as beam:
        beam.store("kept", durable=tmp_path)["a"] = 1
    with slither.Beam(workers=1) as beam:
        assert dict(beam.store("kept", durable=tmp_path)) == {"a": 1}


def test_durable_tables_share_a_folder(beam: slither.Beam, tmp_path: Path) -> None:
    one, two = (beam.store(name, durable=tmp_path) for name in ("../a", "b/c"))
    one["x"], two["x"] = 1, 2
    assert (one["x"], two["x"]) == (1, 2)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_durable_table_outlives_a_beam_that_is_killed(escript: Path, tmp_path: Path) -> None:
    with slither.Beam(workers=1) as beam:
        beam.store("kept", durable=tmp_path)["a"] = 1
        beam._link.child.kill()
    with slither.Beam(workers=1) as beam:
        assert dict(beam.store("kept", durable=tmp_path)) == {"a": 1}


def test_a_name_stands_for_one_table(beam: slither.Beam) -> None:
    beam.store("one")["a"] = 1
    assert beam.store("one")["a"] == 1
    with pytest.raises(ValueError, match="open already, with other options"):
        beam.store("one", type="ordered_set")
    with pytest.raises(ValueError, match="type is one of 'set', 'ordered_set', not 'bag'"):
        beam.store("two", type="bag")


def test_a_value_that_cannot_be_sent_is_named(beam: slither.Beam) -> None:
    with pytest.raises(slither.TableError, match=r"a range cannot be sent"):
        beam.store("odd")["a"] = range(1)


def test_a_folder_that_cannot_be_used_is_told(beam: slither.Beam, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(slither.CallError):
        beam.store("nowhere", durable=tmp_path / "file")
