"""How what workers say is shown to a program."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable

import pytest

from slither._driver.logs import show
from slither._frames import Log


def said(message: str, logger: str = "stdout") -> Log:
    return Log(0, "info", logger, message, 0)


def test_what_a_stream_cannot_encode_is_shown_with_backslashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    show(said("hällo ✓"))
    show(said("plain"))
    assert raw.getvalue() == b"h\\xe4llo \\u2713\nplain\n"


def _raise(kind: type[BaseException]) -> Callable[..., None]:
    def fail(*_arguments: object) -> None:
        raise kind("no")

    return fail


@pytest.mark.parametrize("method", ["write", "flush"])
@pytest.mark.parametrize("kind", [OSError, ValueError, RuntimeError, SystemExit])
def test_a_stream_that_refuses_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, method: str, kind: type[BaseException]
) -> None:
    stream = io.StringIO()
    setattr(stream, method, _raise(kind))
    monkeypatch.setattr(sys, "stdout", stream)
    show(said("lost"))
    monkeypatch.setattr(sys, "stdout", after := io.StringIO())
    show(said("shown"))
    assert after.getvalue() == "shown\n"


def test_closed_and_missing_streams_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None, object()):
        monkeypatch.setattr(sys, "stderr", stream)
        show(said("lost", "stderr"))


@pytest.mark.parametrize("told", [True, False])
def test_a_handler_that_raises_is_told_as_logging_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: bool
) -> None:
    logger = logging.Logger("test_logs.raises")
    monkeypatch.setitem(logging.root.manager.loggerDict, logger.name, logger)
    monkeypatch.setattr(logging, "raiseExceptions", told)
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", _raise(RuntimeError))
    logger.addHandler(handler)
    show(said("a record", logger.name))
    assert ("RuntimeError: no" in capsys.readouterr().err) is told


def test_states_of_a_bar_are_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    for message in ("\r10%|####", "\r20%", "done", "next"):
        show(said(message, "stderr"))
    assert out.getvalue() == "\r10%|####\r20%     \rdone\nnext\n"
