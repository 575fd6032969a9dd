"""Frames of pandas as tables of Arrow: what pyarrow alone would change is kept, or refused.

Pure functions, called by :mod:`slither._wire.types.arrow`, which imports this module when there
is a first frame.
"""

from __future__ import annotations

import contextlib
import json

from slither._types import Payload
from slither._wire.types.row import RefusedError

_OURS = b"slither"
"""Where the schema of a table says what pyarrow's own words for pandas do not."""
# What is missing in a column of objects, by the name of its type.
_MISSING = {"float": "nan", "NAType": "NA", "NaTType": "NaT"}


def of_pandas(frame: Payload, pyarrow: Payload) -> Payload:
    """Return a frame's table, or raise RefusedError with the column that has none."""
    try:
        table = pyarrow.Table.from_pandas(frame)
    except (pyarrow.ArrowException, ValueError, TypeError, NotImplementedError) as error:
        # pyarrow names the column in a second argument.
        why = "; ".join(str(part) for part in error.args) or type(error).__name__
        raise RefusedError(f"a pandas.DataFrame cannot be sent: {why}") from None
    facts: dict[str, Payload] = {}
    for place, kind in enumerate(frame.dtypes):
        if kind.kind == "O" and kind.name == "object":
            _look(frame.iloc[:, place], table.column(place), place, facts, pyarrow.types)
    freq = getattr(frame.index, "freqstr", None)
    if freq is not None and hasattr(frame.index, "freq"):
        facts["freq"] = freq
    if not facts:
        return table
    return table.replace_schema_metadata(
        {**(table.schema.metadata or {}), _OURS: json.dumps(facts)}
    )


def _look(
    cells: Payload, column: Payload, place: int, facts: dict[str, Payload], types: Payload
) -> None:
    """Note how the objects of a column are to come, and refuse it where Arrow changes them."""
    kind = column.type
    if column.null_count:
        missing = cells[cells.isna()].iloc[0]
        if missing is not None:
            facts.setdefault("missing", {})[str(place)] = _MISSING.get(type(missing).__name__)
    if types.is_list(kind) or types.is_large_list(kind):
        found = {type(cell) for cell in cells if cell is not None}
        if found == {list}:
            facts.setdefault("plain", []).append(place)
        elif {one.__name__ for one in found} != {"ndarray"}:
            odd = sorted(one.__name__ for one in found if one is not list)
            raise _refused(cells.name, f"has cells of the type {odd[0]}, which come as lists")
        else:
            return
    elif types.is_struct(kind):
        facts.setdefault("plain", []).append(place)
    elif not types.is_floating(kind):
        return
    for cell, came in zip(cells, column.to_pylist(), strict=True):
        if came is not None and not _is_same(cell, came):
            raise _refused(cells.name, f"has {cell!r:.60}, which comes as {came!r:.60}")


def _is_same(cell: Payload, came: Payload) -> bool:
    if isinstance(cell, dict) and isinstance(came, dict):
        return cell.keys() == came.keys() and all(_is_same(cell[k], came[k]) for k in cell)
    if isinstance(cell, list) and isinstance(came, list):
        return len(cell) == len(came) and all(map(_is_same, cell, came))
    if isinstance(cell, int) and isinstance(came, float):
        return False
    return bool(cell == came) or bool(cell != cell and came != came)  # noqa: PLR0124 - NaN


def _refused(name: object, why: str) -> RefusedError:
    return RefusedError(
        f"a pandas.DataFrame cannot be sent: its column {name!r} of objects {why}; give it one "
        "type, or send .to_dict('records')"
    )


def to_pandas(table: Payload) -> Payload:
    """Return a table's frame."""
    import pandas

    frame = table.to_pandas()
    told = (table.schema.pandas_metadata or {}).get("columns", ())
    facts = json.loads((table.schema.metadata or {}).get(_OURS, "{}"))
    plain, missing = facts.get("plain", ()), facts.get("missing", {})
    for place, of in enumerate(told[: frame.shape[1]]):
        if of["numpy_type"] != "object":
            continue
        # A column of objects that all have one type comes with that type, and its None as NaN.
        if place in plain or frame.dtypes.iloc[place].name != "object":
            cells = table.column(place).to_pylist()
            column = pandas.Series(cells, frame.index, dtype=object)
            frame.isetitem(place, column)
        if str(place) in missing:
            stands = {"nan": float("nan"), "NA": pandas.NA, "NaT": pandas.NaT}
            column = frame.iloc[:, place]
            objects = column.where(column.notna(), stands[missing[str(place)]])
            frame.isetitem(place, objects.astype(object))
    if "freq" in facts:
        with contextlib.suppress(ValueError):
            frame.index.freq = facts["freq"]
    return frame
