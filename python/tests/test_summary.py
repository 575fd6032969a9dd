"""The account of a run: its numbers, and the table that it prints as."""

from __future__ import annotations

import math

import pytest

import slither
from slither._summary import Summary, summarize

TIMES = {
    "rate": 0,
    "queue": 0,
    "encode": 0,
    "wire": 0,
    "decode": 0,
    "handler": 0,
    "reorder": 0,
}

TABLE = """
texts: 10 items in 2.0 s
  default      8
  error: ValueError 2
  4 calls, 0 retries

stage  items  errors  calls    p50     p95  queue  encode  wire  decode  handler  reorder
clean     10       0      -  12 µs   40 µs      -       -     -       -    100 %        -
score  9,990       2      4  76 ms  120 ms   30 %       -  10 %       -     60 %        -

bottleneck: the handler of score (86 % of its time), and batches wait 1.4 times as long \
for a worker; try more workers, up to the cores, or a faster function
"""


def receipt(**fields: object) -> dict[str, object]:
    return {"in": 10, "duration": 2_000_000, "batches": 4, "times": dict(TIMES), **fields}


def test_a_table_has_a_row_for_each_stage_and_the_bottleneck_last() -> None:
    clean = receipt(batches=0, times={**TIMES, "handler": 1_000_000}, p50=12, p95=40)
    score = receipt(
        times={**TIMES, "queue": 6_000_000, "handler": 12_000_000, "wire": 2_000_000},
        errors={"ValueError": 2},
        p50=76_000,
        p95=120_000,
    )
    score["in"] = 9_990
    found = {"what": "handler", "stage": "score", "share": 0.86, "waits": 1.4}
    summary = summarize(
        receipt(name="texts", stages=[["clean", clean], ["score", score]], bottleneck=found),
        {"default": 8},
        {"ValueError": 2},
    )
    assert str(summary) == TABLE.strip()
    assert (summary.stages["score"].p50, summary.stages["score"].p95) == (0.076, 0.12)
    assert summary.stages["score"].shares["handler"] == 0.6


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("handler", "the handler of f (50 % of its time); try a faster function"),
        ("values", "encoding and decoding of f"),
        ("wire", 'try larger batches (batch_size="auto")'),
        ("turn", 'ordering="as_completed"'),
        ("rate", "the rate limit of f (50 % of its time); try a higher rate="),
        ("workers", "try more workers or cores"),
    ],
)
def test_each_bottleneck_has_its_sentence(what: str, said: str) -> None:
    found = {"what": what, "stage": "f", "share": 0.5, "waits": 0.2}
    assert said in summarize(receipt(bottleneck=found), {}, {}).bottleneck


def test_the_input_may_be_what_is_slow() -> None:
    found = {"what": "input", "stage": None, "share": 0.004, "waits": None}
    said = summarize(receipt(bottleneck=found), {}, {}).bottleneck
    assert said.startswith(
        "no stage, as a call went on for < 1 % of the time; try a faster input"
    )


def test_a_name_that_stands_for_code_by_value_is_not_shown() -> None:
    found = {"what": "wire", "stage": "slither._by_value.f", "share": 0.5, "waits": 0.2}
    summary = summarize(receipt(name="slither._by_value.f", bottleneck=found), {}, {})
    assert summary.name == ""
    assert summary.bottleneck.startswith("the way to the worker and back (50 %")


def test_an_account_that_is_not_whole_prints_without_a_table() -> None:
    assert str(Summary(items=3, outputs={"results": 2}, seconds=75)) == (
        "3 items in 1 min 15 s\n  results      2"
    )


def test_a_map_tells_where_its_time_went(beam: slither.Beam) -> None:
    results = beam.map(math.sqrt, range(500), batch_size=50)
    assert list(results) == [math.sqrt(n) for n in range(500)]
    summary = results.summary
    assert summary.name == "math.sqrt"
    assert summary.p50 is not None
    assert summary.p95 is not None
    assert 0 < summary.p50 <= summary.p95
    assert set(summary.times) == set(TIMES)
    assert sum(summary.shares.values()) == pytest.approx(1.0)
    lines = str(summary).splitlines()
    assert any(line.startswith("math.sqrt    500       0     10 ") for line in lines)
    assert lines[-1].startswith("bottleneck: ")
    assert "; try " in lines[-1]
