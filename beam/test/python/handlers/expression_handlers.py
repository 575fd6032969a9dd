"""Expressions evaluated in Python, to be compared with what BEAM makes of them."""

from __future__ import annotations

from slither._pipe.render import render
from slither._testing.evaluate import EvaluationError, SkipItem, evaluate
from slither._types import Payload


def evaluate_all(pairs: list[Payload]) -> list[Payload]:
    return [one(*pair) for pair in pairs]


def one(data: Payload, item: Payload) -> Payload:
    text = render(data)
    try:
        return [text, "value", evaluate(data, item)]
    except SkipItem as skipped:
        return [text, "skip", skipped.value]
    except EvaluationError as error:
        return [text, error.kind, None if error.kind == "fail" else error.at]
