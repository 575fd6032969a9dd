from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from peer import Worker
from pipe_samples import SAMPLES, clean

import slither
from slither._types import Payload
from slither._wire import frames
from slither.worker import item_handler

# The pipes of `pipe_samples`, in the order of the module.
PUBLIC = [*SAMPLES[:-1], clean, SAMPLES[-1]]


def function(name: str, module: str = "handlers") -> list[str]:
    return ["function", module, name]


class TestStart:
    def test_hello_states_versions_and_ready_the_sorted_handlers(self, worker: Worker) -> None:
        assert worker.hello.version == 2
        assert worker.hello.facts["slither"] == slither.__version__
        assert worker.hello.facts["pid"] == worker.process.pid
        assert worker.facts["handlers"] == sorted(worker.facts["handlers"])
        assert "echo" in worker.facts["handlers"]

    def test_start_hooks_run_once(self, worker: Worker) -> None:
        assert worker.results("was_started", [1]) == [["yes"]]

    def test_a_missing_preload_module_is_an_import_error(self) -> None:
        with Worker(preload=["no_such_module"]) as worker:
            error = worker.start().expect(frames.Failed).error
            assert error["kind"] == "import"
            assert error["message"].startswith("no module is named 'no_such_module'; sys.path is")
            assert worker.wait() == 1

    @pytest.mark.parametrize(
        ("source", "kind", "text"),
        [
            ("1/0", "exception", "division by zero"),
            ("import missing_dependency", "import", "missing_dependency"),
            ("def f(:", "exception", "invalid syntax"),
            ("import sys; sys.exit(4)", "exception", "4"),
            (
                "from slither.worker import on_start\n@on_start\ndef go(): raise OSError('hook')",
                "exception",
                "hook",
            ),
        ],
    )
    def test_a_failing_preload_says_failed(
        self, tmp_path: Path, source: str, kind: str, text: str
    ) -> None:
        (tmp_path / "broken.py").write_text(source + "\n")
        with Worker(preload=["broken"], paths=[str(tmp_path)]) as worker:
            error = worker.start().expect(frames.Failed).error
            assert (error["kind"], text in error["message"]) == (kind, True), error
            assert "broken.py" in error["traceback"]
            assert "_runtime" not in error["traceback"]
            assert worker.wait() == 1

    def test_another_version_fails_and_names_both(self) -> None:
        with Worker() as worker:
            error = worker.start(version=3).expect(frames.Failed).error
            assert (error["kind"], error["beam"], error["python"]) == ("version_mismatch", 3, 2)
            assert worker.wait() == 1

    @pytest.mark.parametrize("setting", [{"credits": -1}, {"paths": "x"}, {"marker": 5}])
    def test_a_wrong_setting_fails(self, setting: dict[str, Payload]) -> None:
        with Worker(**setting) as worker:
            assert worker.start().expect(frames.Failed).error["kind"] == "protocol"

    def test_unknown_settings_are_ignored(self) -> None:
        with Worker(future=1) as worker:
            worker.ready()

    def test_eof_before_the_welcome_ends_it(self) -> None:
        with Worker() as worker:
            worker.expect(frames.Hello)
            worker.close_input()
            assert worker.wait() == 1


class TestEnd:
    @pytest.mark.parametrize("how", ["eof", "shutdown"])
    def test_stop_hooks_run_and_the_status_is_0(
        self, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "stopped"
        monkeypatch.setenv("SLITHER_TEST_STOPPED", str(path))
        with Worker() as worker:
            worker.ready()
            if how == "eof":
                worker.close_input()
            else:
                worker.send(frames.SHUTDOWN, 1_000)
            assert worker.wait() == 0
        assert path.read_text() == "stopped\n"

    def test_a_shutdown_finishes_what_was_received(self, worker: Worker) -> None:
        first = worker.call("look_up", ["a"])
        asked = worker.expect(frames.ViewCall)
        second = worker.call("echo", [2])
        worker.send(frames.SHUTDOWN, 1_000)
        worker.send(frames.VIEW_REPLY, asked.id, 0, "A")
        assert worker.expect(frames.Result)[:2] == (first, ["A"])
        assert worker.expect(frames.Result)[:2] == (second, [2])
        assert worker.wait() == 0

    def test_it_needs_a_port(self) -> None:
        import subprocess
        import sys

        done = subprocess.run(
            [sys.executable, "-m", "slither.worker"], capture_output=True, check=False, text=True
        )
        assert done.returncode == 2
        assert "started by a Slither pool" in done.stderr


class TestCall:
    def test_it_answers_with_timing(self, worker: Worker) -> None:
        got = worker.run("echo", [1, "a", None, [1.5], {"k": b"v"}])
        assert got.results == [1, "a", None, [1.5], {"k": b"v"}]
        assert got.errors is None
        assert len(got.timing) == 3

    def test_a_large_batch(self, worker: Worker) -> None:
        items = [b"x" * 300_000, *range(10_000)]
        assert worker.results("echo", items) == items

    def test_an_empty_batch(self, worker: Worker) -> None:
        assert worker.results("echo", []) == []

    def test_functions_by_name(self, worker: Worker) -> None:
        assert worker.results(function("Tools.double"), [1, 2]) == [2, 4]
        assert worker.results(function("Tools.double"), [3]) == [6]

    @pytest.mark.parametrize(
        ("target", "text"),
        [
            (function("f", "nowhere"), "no module is named 'nowhere'; sys.path is"),
            (function("f", "handlers.sub"), "handlers"),
            (function("f", ""), "module name"),
            (function("eccho"), "handlers has no attribute 'eccho'; did you mean echo"),
            (function("constant"), "handlers.constant is of type int, not a function"),
            (["pipes", "nowhere"], "no module is named 'nowhere'; sys.path is"),
        ],
    )
    def test_a_bad_target_is_an_import_error(
        self, worker: Worker, target: list[str], text: str
    ) -> None:
        error = worker.error(target, [1])
        assert error["kind"] == "import"
        assert text in error["message"]

    def test_the_pipes_of_a_module_are_documents(self, worker: Worker) -> None:
        [documents] = worker.results(["pipes", "pipe_samples"], [None])
        assert documents == [*(pipe.document() for pipe in PUBLIC)]
        assert worker.results(["pipes", "handlers"], [None]) == [[]]
        # The worker itself has not imported it.
        assert worker.results(function("is_loaded"), ["pipe_samples"]) == [False]

    def test_help_is_what_python_says_of_a_function_or_a_module(self, worker: Worker) -> None:
        [text] = worker.results(["help", "json", "dumps"], [None])
        assert text.startswith("json.dumps(obj, *, skipkeys=False")
        assert "JSON formatted" in text
        assert worker.results(["help", "builtins", "print"], [None])[0].startswith(
            "builtins.print("
        )
        [text] = worker.results(["help", "json", ""], [None])
        assert text.startswith("json\n\nJSON")
        assert "\n  dumps  Serialize" in text
        # What is neither described nor callable has little to tell.
        assert worker.results(["help", "handlers", ""], [None])[0].startswith("handlers")
        assert worker.error(["help", "json", "dumb"], [None])["kind"] == "import"

    def test_an_unknown_command_lists_the_known(self, worker: Worker) -> None:
        error = worker.error("nope", [1])
        assert error["kind"] == "unknown_command"
        assert "echo" in error["known"]

    def test_an_exception_has_type_and_its_own_traceback(self, worker: Worker) -> None:
        error = worker.error("raises", ["luck"])
        assert (error["kind"], error["type"]) == ("exception", "RuntimeError")
        assert error["message"] == "no luck \\ud800"
        assert "ValueError: inner" in error["traceback"]
        assert "handlers.py" in error["traceback"]
        assert "_calls.py" not in error["traceback"]
        assert worker.results("echo", [1]) == [1]

    def test_a_handler_that_holds_all_memory_fails_its_call_alone(self, worker: Worker) -> None:
        error = worker.error("exhausts", [32 << 20])
        assert (error["kind"], error["type"]) == ("exception", "MemoryError")
        assert "blocks are all" in error["message"]
        assert worker.results("echo", [1]) == [1]

    @pytest.mark.parametrize(
        ("item", "kind"), [("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")]
    )
    def test_an_exit_fails_only_the_batch(self, worker: Worker, item: str, kind: str) -> None:
        error = worker.error("exits", [item])
        assert (error["kind"], error["type"]) == ("exception", kind)
        assert worker.results("echo", [1]) == [1]

    def test_wrong_length_has_both_counts(self, worker: Worker) -> None:
        error = worker.error("fewer", [1, 2, 3])
        assert (error["kind"], error["expected"], error["got"]) == ("wrong_length", 3, 2)

    @pytest.mark.parametrize(
        ("item", "got", "hint"),
        [
            ("none", "NoneType", "is a return missing?"),
            ("str", "str", "list of as many results"),
            ("dict", "dict", "list of as many results"),
            ("coroutine", "coroutine", "await it"),
            ("map", "map", "list of as many results"),
        ],
    )
    def test_what_is_no_list_is_refused(
        self, worker: Worker, item: str, got: str, hint: str
    ) -> None:
        error = worker.error("wrong_kind", [item])
        assert (error["kind"], error["got"]) == ("not_a_list", got)
        assert hint in error["message"]

    def test_a_tuple_is_a_list(self, worker: Worker) -> None:
        assert worker.results("wrong_kind", ["tuple"]) == [1]

    def test_items_fail_alone(self, worker: Worker) -> None:
        names = ["fine", "set", "time", "failure", "facts", "nested", "surrogate", "nan"]
        got = worker.run("mixed", [*names, "bad facts"])
        assert got.results == ["fine", *[None] * 8]
        kinds = {index: error["kind"] for index, error in got.errors.items()}
        assert [kinds[index] for index in range(1, 9)] == [
            "not_encodable",
            "not_encodable",
            "failure",
            "failure",
            "not_encodable",
            "not_encodable",
            "not_encodable",
            "failure",
        ]
        path = 'result["tags"][3]: a range cannot be sent; make it a list'
        assert got.errors[1]["message"] == path
        assert got.errors[3]["message"] == "not this one"
        assert got.errors[4]["reason"] == {"code": 7}

    def test_an_answer_over_the_limit_is_an_error(self) -> None:
        with Worker(max_frame=200_000) as worker:
            worker.ready()
            error = worker.error("large", [150_000, 150_000])
            assert (error["kind"], error["limit"]) == ("too_large", 200_000)
            assert error["size"] > 300_000
            assert worker.results("large", [3]) == [b"\0\0\0"]

    def test_a_result_over_the_limit_fails_alone(self) -> None:
        with Worker(max_frame=200_000) as worker:
            worker.ready()
            got = worker.run("large", [3, 300_000, 199_999, 4])
            assert got.results == [bytes(3), None, None, bytes(4)]
            assert {at: error["kind"] for at, error in got.errors.items()} == {
                1: "too_large",
                2: "too_large",
            }

    @pytest.mark.parametrize("name", ["broken", "yields_broken", "broken_later", "break_one"])
    def test_a_value_that_breaks_while_it_is_sent_fails_alone(
        self, worker: Worker, name: str
    ) -> None:
        items = ["fine", "zone", "mapping", "deep reason", "long reason", "again"]
        identity = worker.call(["function", "broken_values", name], items)
        results: list[Payload] = []
        errors: dict[int, dict[str, Payload]] = {}
        while len(results) < len(items):
            got = worker.read()
            assert isinstance(got, frames.Result | frames.Part), got
            results += got.results
            errors.update(got.errors or {})
            worker.send(frames.CREDIT, identity, len(got.results))
        assert results == ["fine", None, None, None, None, "again"]
        kinds = [errors[at]["kind"] for at in range(1, 5)]
        assert kinds == ["not_encodable", "not_encodable", "failure", "failure"]
        assert "ZeroDivisionError" in errors[1]["message"]

    def test_context_and_session(self, worker: Worker) -> None:
        identity = worker.call("where", [1], batch=4, attempt=2, session="s1")
        got = worker.expect(frames.Result)
        assert got[:2] == (identity, [["r1", "p", "s", "s1", 4, 2]])
        assert worker.results("count", [1, 2], session="s1") == [1, 3]
        assert worker.results("count", [1], session="s2") == [1]
        assert worker.results("count", [1], session="s1") == [4]
        assert worker.results("count", [10], run=None) == [10]
        assert worker.results("count", [10], run=None) == [10]

    def test_the_marker_names_the_running_call(self, worker: Worker) -> None:
        identity = worker.call("look_up", ["a"])
        asked = worker.expect(frames.ViewCall)
        assert struct.unpack_from("<Q", worker.marked()) == (identity,)
        worker.send(frames.VIEW_REPLY, asked.id, 0, None)
        worker.expect(frames.Result)
        worker.send(frames.PING, 1)
        worker.expect(frames.Pong)
        assert worker.marked()[:8] == bytes(8)

    def test_the_marker_has_no_name(self, worker: Worker) -> None:
        assert os.fstat(worker.marker).st_nlink == 0

    def test_process_hygiene(self, worker: Worker) -> None:
        assert worker.results("descriptors", [1]) == [[b"", [False, False], os.getpgrp()]]

    def test_a_forked_child_that_returns_does_not_answer(self, worker: Worker) -> None:
        assert worker.results("forks", [1]) == [0]
        assert worker.results("echo", [1]) == [1]


class TestBadFrames:
    @pytest.mark.parametrize(
        ("body", "identity", "kind"),
        [
            (b"\xc1", 0, "protocol"),
            (b"\x91\x7f", 0, "protocol"),
            (b"\x92\x0c\xa1x", 0, "protocol"),
            (b"\x97\x04\x07\xa1x\x80\x00\x01\x90", 7, "protocol"),
            (b"\x97\x04\x07\x92\xa7command\xa1e\x80\x00\x01\x91\xa1\xff", 7, "not_decodable"),
            (b"\x92\x05\x01", 0, "protocol"),
            (b"\x94\x08\x63\x02\xc0", 0, "protocol"),
        ],
    )
    def test_they_are_answered_and_it_goes_on(
        self, worker: Worker, body: bytes, identity: int, kind: str
    ) -> None:
        worker.send_body(body)
        got = worker.expect(frames.Error)
        assert (got.id, got.error["kind"]) == (identity, kind), got
        assert worker.results("echo", [1]) == [1]

    def test_bad_lengths_are_skipped(self) -> None:
        with Worker(max_frame=100_000) as worker:
            worker.ready()
            worker.send_body(b"")
            assert "length 0" in worker.expect(frames.Error).error["message"]
            worker.send_body(bytes(200_000))
            assert "over the limit" in worker.expect(frames.Error).error["message"]
            assert worker.results("echo", [1]) == [1]

    def test_a_frame_for_beam_is_refused(self, worker: Worker) -> None:
        worker.send(frames.RESULT, 1, [], None, [0, 0, 0])
        assert "expects no result frame" in worker.expect(frames.Error).error["message"]

    def test_a_ping_is_answered(self, worker: Worker) -> None:
        worker.send(frames.PING, 77)
        assert worker.expect(frames.Pong).token == 77


class TestParentGone:
    def test_a_killed_parent_leaves_no_worker(self, tmp_path: Path) -> None:
        import select
        import signal
        import subprocess
        import sys

        script = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from peer import Worker\n"
            "worker = Worker(credits=1).ready()\n"
            "worker.call('spin', [1])\n"
            "worker.read()\n"
            "print(worker.process.pid, flush=True)\n"
            "worker.read()\n"
        )
        here = os.path.dirname(__file__)
        with subprocess.Popen(
            [sys.executable, "-c", script, here], stdout=subprocess.PIPE, text=True
        ) as parent:
            assert parent.stdout is not None
            watched = os.pidfd_open(int(parent.stdout.readline()))
            os.kill(parent.pid, signal.SIGKILL)
            parent.wait()
            assert select.select([watched], [], [], 2.0)[0], "the worker lives on"
            os.close(watched)


class TestItemHandlers:
    def test_an_exception_fails_its_item_alone(self, worker: Worker) -> None:
        worker.call("halve", [4, "four", 2])
        result = worker.expect(frames.Result)
        assert result.results == [2.0, None, 1.0]
        assert list(result.errors) == [1]
        error = result.errors[1]
        assert (error["kind"], error["type"]) == ("exception", "TypeError")
        assert "in halve" in error["traceback"]
        assert "_calls.py" not in error["traceback"]

    def test_one_may_be_named_by_module_and_name(self, worker: Worker) -> None:
        assert worker.results(["function", "handlers", "halve"], [4]) == [2.0]

    def test_what_cannot_be_marked_is_refused(self) -> None:
        with pytest.raises(TypeError, match="a function of yours"):
            item_handler(len)
