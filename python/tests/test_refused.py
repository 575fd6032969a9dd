"""What exceptions say of when to come again, and what a worker tells of it."""

from __future__ import annotations

import datetime
import email.message
import email.utils
import time
import urllib.error
from typing import Any

import pytest

from slither._wire import frames
from slither._wire.faults import lean
from slither._worker.errors_out import exception_error
from slither._worker.refused import later
from slither._worker.results import encode_result
from slither.worker import Failure


class Answer:
    """What requests and httpx have in an exception."""

    def __init__(self, status: object, headers: object) -> None:
        """Keep them."""
        self.status_code = status
        self.headers = headers


def refused(**facts: object) -> Exception:
    """Make an exception with some attributes."""
    error = RuntimeError("too many")
    for name, value in facts.items():
        setattr(error, name, value)
    return error


def headers(**named: str) -> email.message.Message:
    """Make headers whose names have no case, as all clients have them."""
    message = email.message.Message()
    for name, value in named.items():
        message[name.replace("_", "-")] = value
    return message


class BrokenError(Exception):
    """Its attributes can't be read."""

    @property
    def retry_after(self) -> float:
        """Fail."""
        raise OSError("gone")

    @property
    def response(self) -> object:
        """Fail."""
        raise OSError("gone")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refused(retry_after=2), 2_000),
        (refused(retry_after=0.0004), 1),
        (refused(retry_after="3"), 3_000),
        (refused(retry_after=datetime.timedelta(seconds=4)), 4_000),
        (refused(retry_after=-5), 0),
        (refused(retry_after=1e12), 86_400_000),
        (refused(retry_after=float("nan")), None),
        (refused(retry_after=float("inf")), None),
        (refused(retry_after=True), None),
        (refused(retry_after="soon"), None),
        (refused(retry_after=object()), None),
        (refused(response=Answer(429, headers(Retry_After="7"))), 7_000),
        (refused(response=Answer(429, {"Retry-After": "7"})), 7_000),
        (refused(response=Answer(429, {"retry-after": "7"})), 7_000),
        (refused(response=Answer(429, headers(retry_after_ms="250", Retry_After="1"))), 250),
        (refused(response=Answer(503, headers(Retry_After="8"))), 8_000),
        (refused(response=Answer(429, headers())), 1_000),
        (refused(response=Answer(429, None)), 1_000),
        (refused(response=Answer(503, headers())), None),
        (refused(response=Answer(500, headers(Retry_After="8"))), None),
        (refused(response=Answer("429", headers(Retry_After="8"))), None),
        (refused(status=429, headers=headers(Retry_After="9")), 9_000),
        (
            urllib.error.HTTPError("http://x", 429, "no", headers(Retry_After="11"), None),
            11_000,
        ),
        (BrokenError(), None),
        (ValueError("no"), None),
    ],
)
def test_what_an_exception_says(error: Exception, expected: int | None) -> None:
    assert later(error) == expected


def test_a_date_is_the_time_until_it() -> None:
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    found = later(refused(response=Answer(429, headers(Retry_After=date))))
    assert found is not None
    assert 0 < found <= 60_000
    past = email.utils.formatdate(time.time() - 60, usegmt=True)
    assert later(refused(response=Answer(429, headers(Retry_After=past)))) == 0


def test_the_cause_says_it_too() -> None:
    outer = RuntimeError("the call failed")
    outer.__cause__ = refused(retry_after=2)
    assert later(outer) == 2_000
    ring = RuntimeError("itself")
    ring.__cause__ = ring
    assert later(ring) is None


def test_an_error_map_has_it_in_ms_and_keeps_it_when_it_is_cut() -> None:
    fault = exception_error(refused(retry_after=2))
    assert fault["retry_after"] == 2_000
    assert lean(fault)["retry_after"] == 2_000
    assert "retry_after" not in exception_error(ValueError("no"))


def test_a_failure_tells_it() -> None:
    got: Any = frames.parse(b"".join(encode_result(1, [1, Failure("busy", retry_after=1.5)])))
    error = got.errors[1]
    assert (error["kind"], error["message"], error["retry_after"]) == ("failure", "busy", 1_500)
    got = frames.parse(b"".join(encode_result(1, [Failure({"code": 7})])))
    assert "retry_after" not in got.errors[0]


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_told(wrong: float) -> None:
    with pytest.raises(ValueError, match="retry_after takes seconds of 0 or more, not"):
        Failure("busy", retry_after=wrong)
