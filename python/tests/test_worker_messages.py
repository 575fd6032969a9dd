"""What a worker says of what goes wrong, word by word, and in which order its frames come.

``worker_messages.json`` holds them; ``python python/tests/test_worker_messages.py`` writes it
anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from peer import Worker

from slither._types import Payload
from slither._version import PROTOCOL_VERSION
from slither._wire import build, frames

KNOWN = Path(__file__).with_name("worker_messages.json")
# What is another each time, or in another Python.
CHANGING = [
    (re.compile(r"sys\.path is \[.*\]"), "sys.path is …"),
    (re.compile(r"registered: .*"), "registered: …"),
    (re.compile(r"0x[0-9a-f]+"), "0x…"),
    (re.compile(r"hard limit, which is \d+"), "hard limit, which is …"),
    (re.compile(r"it has as, .*"), "it has as, …"),
    (re.compile(r"slither [0-9.]+ for"), "slither … for"),
]
# Of an error, beside its kind and its words: traceback and class are pinned elsewhere.
BESIDE = ("traceback", "raised", "known")
DEEP: Payload = 1
for _ in range(1_000):
    DEEP = [DEEP]

CALLS: list[tuple[str | list[str], list[Payload]]] = [
    ("no_such_command", [1]),
    (["function", "no.such.module", "f"], [1]),
    (["function", "handlers", "no_such"], [1]),
    (["function", "handlers", "ech"], [1]),
    (["function", "handlers", "Path.no"], [1]),
    (["function", "handlers", "log"], [1]),
    (["function", "", "f"], [1]),
    (["function", ".", "f"], [1]),
    (["function", ".relative", "f"], [1]),
    (["function", "typed_nowhere", "f"], [1]),
    (["pipes", "no.such.module"], [None]),
    (["session", "dump"], [None]),
    (["session", "load"], [{"module": None, "value": {}}]),
    (["each", "math", "sqrt"], ["x"]),
    (["apply", "math", "sqrt"], [[["x"], {}]]),
    (["function", "math", "sqrt"], [4]),
    ("fewer", [1, 2, 3]),
    *(("wrong_kind", [what]) for what in ("none", "str", "dict", "coroutine", "map")),
    ("mixed", ["set", "time", "failure", "facts", "bad facts", "nested", "surrogate", "nan"]),
    ("raises", ["no luck"]),
    ("exits", ["exit"]),
    (["function", "stream_handlers", "too_few"], [1, 2, 3, 4]),
    (["function", "stream_handlers", "too_many"], [1, 2]),
    (["function", "stream_handlers", "raises_at_the_end"], [1, 2]),
    (["function", "async_handlers", "nothing"], [1, 2]),
    (["each", "async_handlers", "picky"], [1, 2]),
    ("large", [20_000, 1]),
    ("large", [9_000, 9_000, 1]),
]
SETTINGS: list[dict[str, Payload]] = [
    {"max_frame": "1"},
    {"max_frame": -1},
    {"credits": True},
    {"ahead": None},
    {"marker": 1},
    {"capture": "yes"},
    {"log_level": "loud"},
    {"log_level": 3},
    {"rlimits": {"nofile": 3}},
    {"rlimits": {"nofile": [1 << 40]}},
    {"rlimits": {"nofile": [2, 1]}},
    {"rlimits": {"nothing": [1]}},
    {"main": 5},
    {"argv": ["a", 1]},
    {"paths": [b"bytes"]},
    {"preload": "handlers"},
    {"preload": [1]},
    {"initializer": ["handlers", "f"]},
    {"initializer": [1, 2, 3]},
    {"preload": ["no_such_module"]},
    {"initializer": ["handlers", "no_such", []]},
]
BODIES = [
    b"\xc1",
    b"\x01",
    b"\x90",
    b"\x91\x7f",
    b"\x91\xa1x",
    b"\x92\x0c\xa1x",
    b"\x92\x05\x01",
    b"\x97\x04\x07\xa1x\x80\x00\x01\x90",
    b"\x97\x04\x07\x92\xa7command\xa1e\x80\x00\x01\x91\xa1\xff",
    b"\x97\x04\x07\x92\xa7command\xa1e\x80\x00\x01\x91\xd4\x63\x00",
    b"\x94\x08\x63\x02\xc0",
    build.frame(frames.RESULT, 1, [], None, [0, 0, 0]),
    build.frame(frames.WELCOME, 2, {}),
    build.frame(frames.HELLO, 2, {}),
    build.frame(frames.START, 1, "map", {}),
    b"",
    bytes(20_000),
]


def told(error: dict[str, Payload]) -> dict[str, Payload]:
    """An error map without what changes."""
    kept = {name: value for name, value in error.items() if name not in BESIDE}
    for pattern, always in CHANGING:
        kept["message"] = pattern.sub(always, kept["message"])
    return kept


def answered(worker: Worker, target: str | list[str], items: list[Payload]) -> Payload:
    worker.call(target, items)
    while isinstance(got := worker.read(), frames.Part | frames.Log | frames.Session):
        if isinstance(got, frames.Part):
            worker.send(frames.CREDIT, got.id, len(got.results))
    if isinstance(got, frames.Error):
        return told(got.error)
    assert isinstance(got, frames.Result), got
    return {str(at): told(error) for at, error in (got.errors or {}).items()}


def of_calls() -> Iterator[tuple[str, Payload]]:
    with Worker(max_frame=16_384) as worker:
        worker.ready()
        for target, items in CALLS:
            yield f"{target} {items}", answered(worker, target, items)
        worker.send(frames.CALL, 901, ["command", "echo"], {}, 0, 1, [1])
        assert isinstance(worker.read(), frames.Result)


def of_settings() -> Iterator[tuple[str, Payload]]:
    for settings in SETTINGS:
        with Worker(**settings) as worker:
            worker.start()
            yield str(settings), told(worker.expect(frames.Failed).error)
    with Worker() as worker:
        worker.start(version=PROTOCOL_VERSION + 1)
        yield "another version", told(worker.expect(frames.Failed).error)


def of_frames() -> Iterator[tuple[str, Payload]]:
    with Worker(max_frame=16_384) as worker:
        worker.ready()
        for body in BODIES:
            worker.send_body(body)
            got = worker.expect(frames.Error)
            yield body[:40].hex(), {"id": got.id, **told(got.error)}


PARTS = {"calls": of_calls, "settings": of_settings, "frames": of_frames}


def test_each_sentence_stays() -> None:
    known = json.loads(KNOWN.read_text())
    for part, make in PARTS.items():
        found = json.loads(json.dumps(dict(make())))
        assert found == known[part], part


def test_the_frames_of_a_call_come_in_order() -> None:
    """What a handler has said comes before what it has returned, and a cancel before all."""
    with Worker(credits=10) as worker:
        worker.ready()
        first = worker.call(["function", "ordered", "all_of_it"], [1, 2], run="r9")
        second = worker.call("echo", [3])
        worker.send(frames.CANCEL, second)
        third = worker.call("echo", [4])
        got = []
        while True:
            frame = worker.read()
            got.append((type(frame).__name__, getattr(frame, "id", None), frame))
            if isinstance(frame, frames.ViewCall | frames.TableCall):
                worker.send(frames.VIEW_REPLY, frame.id, 0, None)
            if got[-1][1] == third and isinstance(frame, frames.Result):
                break
    kinds = [kind for kind, _, _ in got]
    assert kinds == [
        *("Session", "Log", "Progress", "ViewCall", "TableCall", "TableCall", "Log"),
        *("Result", "Error", "Result"),
    ], got
    shown = [frame for _, _, frame in got]
    assert {getattr(frame, "call", first) for frame in shown[:7]} == {first}
    # Numbers of questions go up: what a finaliser asks for goes before what is asked next.
    assert [frame.op for frame in shown if isinstance(frame, frames.TableCall)] == [
        "scan_end",
        "size",
    ]
    assert [identity for kind, identity, _ in got[7:]] == [first, second, third]
    assert isinstance(shown[8], frames.Error)
    assert told(shown[8].error) == {
        "kind": "cancelled",
        "message": "the caller went away before the call began",
    }


def test_credit_is_what_logs_and_progress_share() -> None:
    with Worker(credits=2) as worker:
        worker.ready()
        identity = worker.call(["function", "ordered", "logs_then_reports"], [1, 2, 3])
        got = [worker.read() for _ in range(3)]
        assert [type(frame) for frame in got] == [frames.Log, frames.Progress, frames.Result]
        worker.send(frames.CREDIT, 0, 1)
        left = worker.expect(frames.Log)
        assert (left.call, left.level, left.logger, left.dropped) == (
            identity,
            "warning",
            "slither",
            4,
        )


def test_a_thread_that_outlives_its_call_acts_for_that_alone() -> None:
    with Worker(credits=10) as worker:
        worker.ready()
        first = worker.call(["function", "ordered", "leaves_a_thread"], [1])
        assert worker.expect(frames.Result).id == first
        second = worker.call(["function", "ordered", "lets_the_thread_act"], [1])
        assert worker.expect(frames.Progress).call == first
        asked = worker.expect(frames.TableCall)
        # Nobody waits for the first call any more: to that one it is cancelled.
        assert (asked.call, asked.arguments) == (first, [[["key", True]]])
        worker.send(frames.VIEW_REPLY, asked.id, 0, None)
        assert worker.expect(frames.Result)[:2] == (second, [False])


def test_a_traceback_ends_where_the_users_code_does() -> None:
    with Worker(credits=10) as worker:
        worker.ready()
        worker.call(["function", "ordered", "all_of_it"], [1])
        while not isinstance(asked := worker.read(), frames.ViewCall):
            continue
        fault = {"kind": "view_failed", "message": "so it is"}
        worker.send(frames.VIEW_REPLY, asked.id, 1, fault)
        error = worker.expect(frames.Error).error
    assert error["message"] == "view 'v': so it is"
    lines = [line for line in error["traceback"].splitlines() if "File " in line]
    assert [line.split('"')[1] for line in lines] == [str(KNOWN.with_name("ordered.py"))]


if __name__ == "__main__":
    everything = {part: dict(make()) for part, make in PARTS.items()}
    KNOWN.write_text(json.dumps(everything, indent=1, ensure_ascii=True) + "\n")
