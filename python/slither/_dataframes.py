"""Rows to frames of pandas, polars and Arrow, and back to results.

Pure; called by a worker's main thread, for handlers that take the items of a batch as one frame.
No package is imported before a batch needs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from slither._takes import FrameKind
from slither._types import Payload

_PACKAGES = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow"}
_Builder: TypeAlias = Callable[[list[dict[Payload, Payload]]], Payload]


class Framed(NamedTuple):
    """A frame of items, and why others are no rows of it, by their places."""

    frame: Payload
    refused: dict[int, Exception]


class ResultError(Exception):
    """A handler's result is none for the frame it was given; ``kind`` is as of an error map."""

    def __init__(self, kind: str, message: str, **facts: Payload) -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts


def framed(items: Sequence[Payload], kind: FrameKind) -> Framed:
    """Make a frame whose rows are the items; those that can't be rows are left out, with reasons.

    An item is a dict: its keys are the columns. Raises ImportError where the package is missing,
    and what the package raises where no single item is at fault.
    """
    build = _builder(kind)
    refused: dict[int, Exception] = {}
    rows: dict[int, dict[Payload, Payload]] = {}
    for place, item in enumerate(items):
        if isinstance(item, dict) and (item or kind == "pandas"):
            rows[place] = item
        else:
            what = "an empty dict" if item == {} else f"a {type(item).__name__}"
            refused[place] = TypeError(
                f"with as {kind} a batch is one frame, whose rows are the items: an item is a "
                f"dict of columns, not {what}"
            )
    if not rows:
        return Framed(None, refused)
    try:
        return Framed(build(list(rows.values())), refused)
    except Exception:
        odd = _odd(rows, build, kind)
        if not odd:
            raise
    refused |= odd
    left = [row for place, row in rows.items() if place not in odd]
    return Framed(build(left) if left else None, refused)


def _odd(
    rows: dict[int, dict[Payload, Payload]], build: _Builder, kind: FrameKind
) -> dict[int, Exception]:
    """Find rows that make no frame: by themselves, or beside what most others have."""
    odd: dict[int, Exception] = {}
    for place, row in rows.items():
        try:
            build([row])
        except Exception as error:  # noqa: BLE001 - the package's, whatever it is
            odd[place] = TypeError(f"the item can't be a row of a frame ({kind}): {_said(error)}")
    seen: dict[Payload, Counter[str]] = {}
    for place, row in rows.items():
        if place not in odd:
            for column, cell in row.items():
                if cell is not None:
                    seen.setdefault(column, Counter())[_type(cell)] += 1
    usual = {column: found.most_common(1)[0][0] for column, found in seen.items()}
    for place, row in rows.items():
        for column, cell in row.items():
            if place not in odd and cell is not None and _type(cell) != usual[column]:
                odd[place] = TypeError(
                    f"the item can't be a row of its batch's frame ({kind}): column {column!r} "
                    f"has a {_type(cell)} here, and a {usual[column]} in most other items"
                )
    return odd


def _type(cell: object) -> str:
    # Whole numbers and others are one column.
    return "number" if type(cell) in (int, float) else type(cell).__name__


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _builder(kind: FrameKind) -> _Builder:
    builders: dict[str, Callable[[], _Builder]] = {
        "pandas": _pandas,
        "polars": _polars,
        "arrow": _arrow,
    }
    try:
        return builders[kind]()
    except ModuleNotFoundError as error:
        package = _PACKAGES[kind]
        if error.name != package:
            raise
        raise ImportError(
            f"a batch as {kind} needs {package} where the workers run: pip install {package}",
            name=package,
        ) from None


def _pandas() -> _Builder:
    import pandas

    return lambda rows: pandas.DataFrame(rows)  # noqa: PLW0108 - a class of any type


def _polars() -> _Builder:
    import polars

    def column(name: str, cells: list[Payload]) -> Payload:
        try:
            return polars.Series(name, cells, strict=True)
        except (polars.exceptions.PolarsError, TypeError, ValueError, OverflowError):
            types = {type(cell) for cell in cells if cell is not None}
            if types == {int, float}:
                return polars.Series(name, cells, dtype=polars.Float64, strict=False)
            # Beyond that it would turn numbers into text, or lose what does not fit.
            if len(types) > 1 or not types <= {list, dict}:
                raise
            return polars.Series(name, cells, strict=False)

    return lambda rows: polars.DataFrame(_columns(rows, column))


def _arrow() -> _Builder:
    import pyarrow

    return lambda rows: pyarrow.table(_columns(rows, lambda _name, cells: pyarrow.array(cells)))


def _columns(
    rows: list[dict[Payload, Payload]], column: Callable[[str, list[Payload]], Payload]
) -> dict[str, Payload]:
    made: dict[str, Payload] = {}
    # The packages' own ways from rows take the columns of the first, or guess their types.
    for name in dict.fromkeys(name for row in rows for name in row):
        if not isinstance(name, str):
            raise TypeError(f"a column's name is a str, not {name!r:.80}")
        try:
            made[name] = column(name, [row.get(name) for row in rows])
        except Exception as error:  # noqa: BLE001 - the package's, whatever it is
            raise TypeError(f"column {name!r}: {_said(error)}") from None
    return made


def results_of(result: Payload, count: int, given: Payload) -> list[Payload]:
    """Return a handler's results: a row each of a frame, or what a list or a column has.

    ``count`` is how many there are to be, ``given`` the frame that the handler got. Raises
    :class:`ResultError`.
    """
    results = _listed(result, given)
    if results is None:
        name = type(result).__name__
        hint = "is a return missing?" if result is None else "give one, or a list"
        message = (
            "a handler that gets its batch as a frame gives a frame, a column or a list with a "
            f"result for each row, and it gave {name}; {hint}"
        )
        raise ResultError("not_a_list", message, got=name)
    if len(results) != count:
        message = (
            f"the handler gave {len(results)} results for a frame of {count} rows: each row is "
            "an item, and has a result; mark rows to be left out, and have a route take them"
        )
        raise ResultError("wrong_length", message, expected=count, got=len(results))
    return results


def _listed(result: Payload, given: Payload) -> list[Payload] | None:
    if isinstance(result, list | tuple):
        return list(result)
    package = type(result).__module__.partition(".")[0]
    if package == "pandas":
        return _of_pandas(result, given)
    if package == "polars":
        if hasattr(result, "to_dicts"):
            return list(result.to_dicts())
        return list(result.to_list()) if hasattr(result, "to_list") else None
    if package == "pyarrow" and hasattr(result, "to_pylist"):
        _distinct(getattr(getattr(result, "schema", None), "names", ()))
        return list(result.to_pylist())
    if package == "numpy" and getattr(result, "ndim", 0) > 0:
        plain = result.ndim == 1 and result.dtype.kind in "biufUSO"
        return list(result.tolist() if plain else result)
    return None


def _of_pandas(result: Payload, given: Payload) -> list[Payload] | None:
    if hasattr(result, "index"):
        result = _in_order(result, given)
    if hasattr(result, "columns"):
        names = list(result.columns)
        _distinct(names)
        if not names:
            return [{} for _ in range(len(result))]
        cells = [_cells(result.iloc[:, place]) for place in range(len(names))]
        return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]
    return _cells(result) if hasattr(result, "tolist") else None


def _in_order(result: Payload, given: Payload) -> Payload:
    """Return the rows in the order of the items, where the index says that they were sorted."""
    index, own = result.index, getattr(given, "index", None)
    if own is None or len(index) != len(own) or index.equals(own):
        return result
    if index.is_unique and index.dtype.kind == own.dtype.kind and index.sort_values().equals(own):
        return result.loc[own]
    return result


def _cells(column: Payload) -> list[Payload]:
    cells: list[Payload] = column.tolist()
    # What is missing among floats is NaN. Elsewhere it is NaT, NA or a NaN, which stand for None.
    if column.dtype.kind not in "biufc" or type(column.dtype).__module__[:6] == "pandas":
        missing = column.isna()
        if missing.any():
            return [
                None if gone else cell for cell, gone in zip(cells, missing.tolist(), strict=True)
            ]
    return cells


def _distinct(names: Sequence[Payload]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        message = (
            f"the handler gave a frame with two columns {twice!r}: an item has one of a name"
        )
        raise ResultError("not_a_list", message, got="DataFrame")
