from __future__ import annotations

import builtins
import io
import sys
from collections.abc import Callable

import driven
import pytest

import slither
from slither import Pipe
from slither._driver import progress
from slither._types import Payload


@pytest.fixture
def no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Payload] = builtins.__import__

    def without(name: str, *arguments: Payload) -> Payload:
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)


def test_without_rich_a_line_tells_how_it_went(
    beam: slither.Beam, no_rich: None, capsys: pytest.CaptureFixture[str]
) -> None:
    results = beam.map(driven.no_fives, range(30), on_error="skip", progress=True)
    assert len(list(results)) == 27
    err = capsys.readouterr().err
    assert err.startswith("no_fives: done: 30 of 30 in, results 27, 3 errors, ")


def test_lines_come_now_and_then(
    beam: slither.Beam,
    no_rich: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "_PLAIN", 0.0)
    pipe = Pipe("echoes").python("echo", driven.echoes, batch_size=2)
    beam.run(pipe, iter(range(10)), progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert lines[-1].startswith("echoes: done: 10 of 10 in, default 10, ")


def test_a_run_that_is_given_up_says_so(
    beam: slither.Beam, no_rich: None, capsys: pytest.CaptureFixture[str]
) -> None:
    results = beam.map(driven.double, range(10_000), progress=True)
    next(results)
    results.close()
    assert "double: done: " in capsys.readouterr().err


def test_rich_draws_a_bar(beam: slither.Beam, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    results = beam.map(driven.double, range(100), batch_size=10, progress=True)
    assert len(list(results)) == 100
    assert "double: 100 of 100 in, results 100" in " ".join(out.getvalue().split())
