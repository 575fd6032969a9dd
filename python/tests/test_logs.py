"""How what workers say is shown to a program."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable

import pytest

from slither._driver.logs import show
from slither._wire.frames import Log
from slither.logs import JsonFormatter


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


def test_a_record_has_what_beam_knows_of_its_worker_where_it_has_nothing_of_that_name() -> None:
    known = {"pool": "gpu", "worker": 3, "batch": 7, "trace_id": "4b", "process": 1, "name": "x"}
    facts = {"process": 99, "extra": {"batch": "mine"}, "beam": known}
    (record,) = _shown(Log(1, "warning", "test_logs.known", "hm", 0, facts))
    own = vars(record)
    assert (own["pool"], own["worker"], own["trace_id"]) == ("gpu", 3, "4b")
    assert (own["batch"], own["process"], own["name"]) == ("mine", 99, "test_logs.known")


def _json(record: logging.LogRecord) -> dict[str, object]:
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found: dict[str, object] = json.loads(line, parse_constant=pytest.fail)
    return found


def test_a_line_of_json_has_all_that_a_worker_s_record_has() -> None:
    facts = {
        **{"pathname": "/srv/jobs.py", "lineno": 7, "funcName": "pay", "process": 99},
        **{"threadName": "payer", "created": 1.25, "exc_text": "KeyError: 1"},
        "extra": {"order": 17, "odd": float("nan"), "parts": (1, b"x", {2: {3}})},
        "beam": {"pool": "gpu", "worker": 0, "run": "run-1", "trace_id": "4b"},
    }
    (record,) = _shown(Log(1, "error", "test_logs.json", "could not\n\ud800", 0, facts))
    assert _json(record) == {
        **{"time": "1970-01-01T00:00:01.250000Z", "level": "error", "logger": "test_logs.json"},
        **{"message": "could not\n\ud800", "file": "/srv/jobs.py", "line": 7, "function": "pay"},
        **{"process": 99, "thread": "payer", "exception": "KeyError: 1"},
        **{"order": 17, "odd": "nan", "parts": [1, "b'x'", {"2": "{3}"}]},
        **{"pool": "gpu", "worker": 0, "run": "run-1", "trace_id": "4b"},
    }


def test_a_line_of_json_has_what_the_program_logs_itself() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    deep: list[object] = []
    deep.append(deep)
    try:
        raise KeyError("k")
    except KeyError:
        found = logging.getLogger("test_logs.own").makeRecord(
            *("test_logs.own", logging.WARNING, "own.py", 3, "no %s", ("stock",), sys.exc_info()),
            extra={"odd": Odd(), "deep": deep, "message_id": 5},
            sinfo="Stack (most recent call last)",
        )
    got = _json(found)
    assert (got["message"], got["level"], got["message_id"]) == ("no stock", "warning", 5)
    assert (got["odd"], "..." in str(got["deep"])) == ("a Odd (its repr() failed)", True)
    assert str(got["exception"]).endswith("KeyError: 'k'")
    assert got["stack"] == "Stack (most recent call last)"


def test_states_of_a_bar_are_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    for message in ("\r10%|####", "\r20%", "done", "next"):
        show(said(message, "stderr"))
    assert out.getvalue() == "\r10%|####\r20%     \rdone\nnext\n"
