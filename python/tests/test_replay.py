from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from peer import CONTEXT, TESTS

from slither._testing.recording import NotRecordedError, Recording, RecordingError, Replayer, read
from slither._types import Payload
from slither._wire import frames
from slither._wire.build import frame
from slither._wire.codec import encode
from slither._wire.frames import TableCall, ViewCall
from slither.replay import main

FACTS: dict[str, Payload] = {
    "capture": 1,
    "time": "2026-11-24T12:00:00Z",
    "pool": "default",
    "worker": 0,
    "hello": {"python": "3.11.7", "slither": "0.1.0"},
    "path": [TESTS],
    "folder": TESTS,
    "preload": ["replayed"],
    "main": None,
    "initializer": None,
    "error": {"kind": "python_exception", "message": "ValueError: odd"},
}


def content(*bodies: bytes, version: int = 1) -> bytes:
    rest = b"".join(struct.pack(">I", len(body)) + body for body in bodies)
    return b"SLITHERC" + struct.pack(">II", version, zlib.crc32(rest)) + rest


def call(target: list[str], items: list[Payload]) -> bytes:
    return frame(frames.CALL, 1, target, CONTEXT, 3, 2, items)


def view(identity: int, params: Payload, answer: Payload, status: int = 0) -> list[bytes]:
    asked = frame(frames.VIEW_CALL, identity, 1, "price", 0, params, None)
    return [asked, frame(frames.VIEW_REPLY, identity, status, answer)]


def table(identity: int, op: str, arguments: list[Payload], answer: Payload) -> list[bytes]:
    asked = frame(frames.TABLE_CALL, identity, 1, "rates", op, arguments)
    return [asked, frame(frames.VIEW_REPLY, identity, 0, answer)]


def write(path: Path, name: str, items: list[Payload], *more: bytes, **facts: Payload) -> Path:
    target = ["function", "replayed", name]
    path.write_bytes(content(encode({**FACTS, **facts}), call(target, items), *more))
    return path


def replay(path: Path, *options: str, said: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "slither.replay", str(path), *options],
        input=said,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(Path(TESTS).parent)},
    )
    return done.returncode, done.stdout


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "batch.slither"


def test_a_batch_that_fails_again_exits_with_1_and_its_traceback(file: Path) -> None:
    status, out = replay(write(file, "odd", [2, 3]))
    assert status == 1
    assert "handler   replayed.odd, 2 items, batch 3" in out
    assert "then      python_exception: ValueError: odd" in out
    assert "now       it fails" in out
    assert "in odd\n" in out
    assert "ValueError: odd: 3" in out


def test_a_batch_that_succeeds_now_exits_with_0(file: Path) -> None:
    status, out = replay(write(file, "odd", [2, 4]))
    assert (status, "now       it succeeds" in out) == (0, True)


def test_a_batch_that_ends_the_process_shows_what_was_said_before(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With it, Python keeps nothing in a buffer that its end could lose.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    status, out = replay(write(file, "leave", [1]))
    assert status == 7
    assert "handler   replayed.leave, 1 items, batch 3" in out
    assert out.endswith("said by the handler\n")


def test_views_and_tables_are_answered_from_the_recording(file: Path) -> None:
    answers = [
        *view(1, {"b": 1, "a": 2}, 10),
        *table(2, "get", ["x"], [5]),
        *table(3, "scan", [None], [7, [["x", 1]]]),
        *table(4, "scan", [7], [None, [["y", 2]]]),
        *table(5, "put", [[["x", 6]]], None),
        *view(6, "gone", {"kind": "view_failed", "message": "it broke"}, 1),
    ]
    status, out = replay(write(file, "asks", [1], *answers))
    assert "[10, 5, {'x': 1, 'y': 2}, 'it broke']" in out
    assert status == 0


def test_what_was_not_recorded_is_named(file: Path) -> None:
    status, out = replay(write(file, "asks", [1]))
    assert status == 1
    assert "no answer is recorded for view 'price' with {'a': 2, 'b': 1}" in out
    _, out = replay(write(file, "asks", [1], cut=True))
    assert "the recording was cut, as it was over its limit" in out


def test_a_question_asked_again_gets_its_answers_in_order_and_then_the_last() -> None:
    exchanges = [
        (TableCall(n, 1, "hits", "update_counter", ["a", 1, 0]), frames.ViewReply(n, 0, n))
        for n in (1, 2)
    ]
    replayer = Replayer(Recording({}, frames.Call(1, [], {}, 0, 1, []), list(exchanges)))
    counted = [replayer.ask_table(1, "hits", "update_counter", ("a", 1, 0)) for _ in range(3)]
    assert counted == [(0, 1), (0, 2), (0, 2)]
    with pytest.raises(NotRecordedError, match="update_counter of table 'hits' with"):
        replayer.ask_table(1, "hits", "update_counter", ("b", 1, 0))


def test_equal_questions_are_one_whatever_the_order_of_a_dict() -> None:
    params = {"a": {"x": 1, "y": [float("nan")]}, 1: b"\xff"}
    turned = {1: b"\xff", "a": {"y": [float("nan")], "x": 1}}
    asked = ViewCall(1, 1, "v", 0, params, None)
    recording = Recording(
        {}, frames.Call(1, [], {}, 0, 1, []), [(asked, frames.ViewReply(1, 0, 5))]
    )
    assert Replayer(recording).ask_view(1, "v", 0, turned, 100) == (0, 5)
    for other in ({"a": 1}, [turned], {**turned, 1: "\xff"}):
        with pytest.raises(NotRecordedError):
            Replayer(recording).ask_view(1, "v", 0, other, None)


def test_the_debugger_opens_where_the_exception_was_raised(file: Path) -> None:
    status, out = replay(write(file, "odd", [5]), "--pdb", said="p 'seen', item\nq\n")
    assert "('seen', 5)" in out
    assert status == 1
    status, out = replay(write(file, "short", [5]), "--pdb")
    assert "there is no exception to debug" in out
    assert "wrong_length: the handler returned 0 results for 1 items" in out


def test_items_that_fail_fail_the_batch_but_not_those_on_purpose(file: Path) -> None:
    status, out = replay(write(file, "some", [1, 0, "skip"]))
    assert status == 1
    assert "item 1: Traceback" in out
    assert "item 2" not in out
    assert replay(write(file, "some", [1, "skip"]))[0] == 0


def test_what_a_worker_does_at_its_start_is_done(file: Path) -> None:
    facts = {"initializer": ["replayed", "initialize", ["set up"]]}
    status, out = replay(write(file, "started", [1], **facts))
    assert (status, "started: True, set up" in out) == (0, True)
    status, out = replay(write(file, "odd", [2], preload=["no_such_module"]))
    assert (status, "no module is named 'no_such_module'" in out) == (1, True)


def test_commands_sessions_progress_and_coroutines_work(file: Path) -> None:
    facts = encode({**FACTS, "error": None, "errors": {0: FACTS["error"], 1: FACTS["error"]}})
    context = {**CONTEXT, "session": "s"}
    body = frame(frames.CALL, 1, ["command", "everything"], context, 0, 1, [1])
    file.write_bytes(content(facts, body))
    status, out = replay(file)
    assert (status, "the state of its session is not recorded" in out) == (0, True)
    assert "and 1 more items" in out


def test_a_crash_ends_the_replay_as_it_ended_the_worker(file: Path) -> None:
    status, out = replay(write(file, "crash", [1]))
    assert status == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in out
    assert "in crash\n" in out


def damaged(good: bytes) -> dict[str, tuple[bytes, str]]:
    facts, target = encode(FACTS), call(["function", "replayed", "odd"], [1])
    reply = view(1, 1, 1)
    return {
        "empty": (b"", "no capture"),
        "another file": (b"\x7fELF" + bytes(100), "no capture"),
        "another version": (content(facts, target, version=2), "of version 2"),
        "cut": (good[:-1], "checksum"),
        "one more byte": (good + b"\0", "checksum"),
        "a bit flipped": (good[:40] + bytes([good[40] ^ 1]) + good[41:], "checksum"),
        "no call": (content(facts), "1 entries"),
        "an odd number": (content(facts, target, reply[0]), "3 entries"),
        "no facts": (content(encode([1]), target), "facts and a call"),
        "odd facts": (content(encode({"path": "x"}), target), "its path is a str"),
        "no frame": (content(facts, b"\xc1"), "can't be replayed"),
        "another frame": (content(facts, frame(frames.PING, 1)), "facts and a call"),
        "no question": (content(facts, target, target, reply[1]), "Call stands in"),
        "another's answer": (content(facts, target, view(2, 1, 1)[0], reply[1]), "not belong"),
    }


def test_a_damaged_file_exits_with_2_and_says_why(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(file, "odd", [1], *view(1, 1, 1)).read_bytes()
    for name, (body, why) in damaged(good).items():
        file.write_bytes(body)
        assert main([str(file)]) == 2, name
        assert why in capsys.readouterr().err, name
    assert main([str(file.parent / "missing")]) == 2
    assert main([str(file.parent)]) == 2
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2


def test_no_part_of_a_file_is_taken_for_a_whole_one(file: Path) -> None:
    good = write(file, "odd", [1]).read_bytes()
    for size in range(len(good)):
        file.write_bytes(good[:size])
        with pytest.raises(RecordingError):
            read(file)
