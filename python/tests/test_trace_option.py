"""Where a Beam's spans go: what ``Beam(trace=…)`` takes, and how it refuses the rest."""

from __future__ import annotations

from typing import Any

import pytest

from slither._driver.settings import tracing


def test_it_takes_a_url_or_options() -> None:
    assert tracing(None) is None
    assert tracing(False) is False
    assert tracing("http://here:4318") == {"endpoint": "http://here:4318"}
    assert tracing({"sample": 0.5, "headers": {"key": "k"}}) == {
        "sample": 0.5,
        "headers": {"key": "k"},
    }


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (7, "trace is a bool, a URL or a dict of options, not 7"),
        ({"endpont": "http://here"}, "unknown option 'endpont'. Did you mean 'endpoint'?"),
        ({"headers": "key=secret"}, "trace: headers is a dict of str"),
        ({"headers": {"key": ["secret"]}}, "trace: headers is a dict of str"),
        ({"headers": {"key": "secret"}, "x": 1}, "Accepted: endpoint, headers, service, sample"),
    ],
)
def test_what_is_wrong_is_said_without_the_keys_of_headers(wrong: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        tracing(wrong)
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)
