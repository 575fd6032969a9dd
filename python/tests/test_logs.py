"""How what workers say is shown to a program."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable

import pytest

from slither._driver.logs import show
from slither._wire.frames import Log


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


def _shown(got: Log) -> list[logging.LogRecord]:
    """What a handler gets that the program has given to its logger, which is set to WARNING."""
    logger = logging.getLogger(got.logger)
    records: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger.addHandler(handler := Handler())
    logger.setLevel(logging.WARNING)
    try:
        show(got)
    finally:
        logger.removeHandler(handler)
    return records


def test_a_record_has_what_was_told_and_no_more() -> None:
    facts = {"pathname": "/srv/jobs.py", "levelno": 35, "levelname": "AUDIT", "created": 1.25}
    extra = {"order": 17, "name": "another", "args": [1], "msg": "%d"}
    got = Log(1, "warning", "test_logs.told", "100 %", 0, {**facts, "extra": extra, "msg": "?"})
    (record,) = _shown(got)
    assert (record.levelno, record.levelname) == (35, "AUDIT")
    assert (record.filename, record.module) == ("jobs.py", "jobs")
    assert (record.created, record.msecs) == (1.25, 250.0)
    assert (record.name, record.getMessage()) == ("test_logs.told", "100 %")
    assert record.order == 17  # type: ignore[attr-defined]


def test_a_record_below_the_logger_s_level_is_not_made() -> None:
    below = {"levelno": 20, "pathname": "jobs.py"}
    assert _shown(Log(1, "info", "test_logs.quiet", "hm", 0, below)) == []
    assert len(_shown(Log(1, "error", "test_logs.quiet", "ah", 0, None))) == 1


def test_states_of_a_bar_are_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    for message in ("\r10%|####", "\r20%", "done", "next"):
        show(said(message, "stderr"))
    assert out.getvalue() == "\r10%|####\r20%     \rdone\nnext\n"
