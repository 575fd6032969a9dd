"""Handlers that take their batch as one frame."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa

from slither.worker import Failure, batch_handler, item_handler


def rate_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(rate=frame["done"] / frame["all"])


def rate_polars(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(rate=pl.col("done") / pl.col("all"))


def rate_arrow(table: pa.Table) -> pa.Table:
    rates = [
        done / all_
        for done, all_ in zip(table["done"].to_pylist(), table["all"].to_pylist(), strict=True)
    ]
    return table.append_column("rate", pa.array(rates))


RATES = {"pandas": rate_pandas, "polars": rate_polars, "arrow": rate_arrow}


@batch_handler("marked rate", as_="pandas")
def marked(frame: pd.DataFrame) -> pd.DataFrame:
    return rate_pandas(frame)


@item_handler
def of_item(item: Any) -> Any:
    return item


def kind_and_rows(frame: Any) -> list[Any]:
    return [[type(frame).__module__.partition(".")[0], len(frame)]] * len(frame)


def column(frame: pd.DataFrame) -> pd.Series:
    return frame["done"] * 2


def array(frame: pd.DataFrame) -> Any:
    return (frame["done"] * 2).to_numpy()


def by_size(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("done", ascending=False)


def new_index(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("done", ascending=False).reset_index(drop=True)


def large(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["done"] > 1]


def nothing(frame: pd.DataFrame) -> None:
    frame["done"] += 1


def twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame], axis=1)


def failing(frame: pd.DataFrame) -> list[Any]:
    return [row if row["done"] < 2 else Failure("too many") for row in frame.to_dict("records")]


def same(frame: Any) -> Any:
    return frame


async def later(frame: pd.DataFrame) -> pd.DataFrame:
    return rate_pandas(frame)


def one_by_one(frame: pd.DataFrame) -> Iterator[float]:
    yield from frame["done"]


async def one_by_one_later(frame: pd.DataFrame) -> AsyncIterator[float]:
    for done in frame["done"]:
        yield done


def raising(frame: pd.DataFrame) -> pd.DataFrame:
    raise KeyError("no such column")
