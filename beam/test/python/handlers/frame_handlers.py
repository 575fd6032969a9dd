"""Handlers that take their batch as one frame."""

from slither.worker import batch_handler


def rate_pandas(frame):
    return frame.assign(rate=frame["done"] / frame["all"])


def rate_polars(frame):
    import polars

    return frame.with_columns(rate=polars.col("done") / polars.col("all"))


def rate_arrow(table):
    import pyarrow.compute

    rates = pyarrow.compute.divide(table["done"].cast("float64"), table["all"])
    return table.append_column("rate", rates)


@batch_handler(as_="pandas")
def marked(frame):
    return rate_pandas(frame)


def large(frame):
    return frame[frame["done"] > 1]
