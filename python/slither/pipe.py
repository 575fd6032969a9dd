"""Pipes: BEAM stages, Python stages and routing, written in Python and run by BEAM.

::

    from slither import Pipe, item
    from my_model import predict_batch

    score = (
        Pipe("score")
        .beam("prepare", {"text": item})
        .python("predict", predict_batch, batch_size=32, max_in_flight=4)
        .route("route", accept=item["score"] >= 0.8, review=item["score"] >= 0.4)
        .output("accept", "review")
        .on_error("predict", "skip")
    )

A pipe is a description: nothing runs before BEAM runs it. Items go through the stages in order; a
routed one leaves at that output, and what no route takes ends in ``default``. All times are in
seconds, as everywhere in Python.
"""

from slither._pipe.definition import VERSION, Pipe, StoreLike
from slither._pipe.expression import error, fail, skip
from slither._pipe.handler import BatchHandler
from slither._pipe.options import Policy, retry, route

__all__ = [
    "VERSION",
    "BatchHandler",
    "Pipe",
    "Policy",
    "StoreLike",
    "error",
    "fail",
    "retry",
    "route",
    "skip",
]
