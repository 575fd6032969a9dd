from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from peer import Worker

from slither._wire import frames
from slither._worker.connection import Link
from slither._worker.output import LAST, ROOM
from slither.erlport import Port


def logs_of(worker: Worker, name: str, items: list[object]) -> list[frames.Log]:
    identity = worker.call(name, items)
    logs = []
    while not isinstance(got := worker.read(), frames.Result):
        assert isinstance(got, frames.Log), got
        assert got.call == identity
        logs.append(got)
    return logs


def exception_of(log: frames.Log) -> str:
    assert log.facts is not None
    text = log.facts["exc_text"]
    assert isinstance(text, str)
    return text


def test_output_of_every_kind_comes_before_the_answer() -> None:
    with Worker(capture=True) as worker:
        worker.ready()
        logs = logs_of(worker, "noisy", [1])
        stdout = [log.message for log in logs if log.logger == "stdout"]
        assert "printed twice" in stdout
        assert any("from C" in line for line in stdout)
        assert any("unfinished" in line for line in stdout)
        stderr = [(log.level, log.message) for log in logs if log.logger == "stderr"]
        assert stderr == [("warning", "to stderr")]
        assert worker.results("echo", [1]) == [1]


def test_without_capture_output_goes_where_it_went() -> None:
    with Worker() as worker:
        worker.ready()
        assert worker.results("noisy", [1]) == [1]
        worker.close_input()
        out, _ = worker.process.communicate(timeout=60)
        assert b"printed twice" in out


def test_output_is_captured_where_it_would_go_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "log.txt").open("wb") as file:
        file.write(b"begun\n")
        file.flush()
        with Worker(file, capture=True) as worker:
            worker.ready()
            logs = logs_of(worker, "noisy", [1])
            assert "printed twice" in [log.message for log in logs]


def test_a_flood_is_dropped_and_counted() -> None:
    with Worker(capture=True, credits=3) as worker:
        worker.ready()
        logs = logs_of(worker, "flood", [200_000])
        assert [log.message for log in logs] == ["line"] * 3
        worker.send(frames.CREDIT, 0, 1)
        assert worker.expect(frames.Log).dropped > 0


def test_logging_and_warnings_arrive() -> None:
    with Worker(credits=10) as worker:
        worker.ready()
        (log,) = logs_of(worker, "logs", ["hello"])
        assert log[1:5] == ("info", "mine", "said hello", 0)
        assert log.facts is not None
        assert (log.facts["funcName"], log.facts["process"]) == ("logs", worker.process.pid)
        warning, error = logs_of(worker, "warns", ["x"])
        assert (warning.level, warning.logger) == ("warning", "py.warnings")
        assert "careful" in warning.message
        assert error.level == "error"
        assert error.message == "broken \\udcff"
        assert exception_of(error).endswith("KeyError: 'k'")


def test_credits_bound_the_frames_and_drops_are_told() -> None:
    with Worker(credits=2) as worker:
        worker.ready()
        assert len(logs_of(worker, "logs", ["a"] * 5)) == 2
        worker.send(frames.CREDIT, 0, 3)
        # Told at once: nothing may follow.
        assert worker.expect(frames.Log) == (1, "warning", "slither", "", 3, None)
        (log,) = logs_of(worker, "logs", ["b"])
        assert (log.message, log.dropped) == ("said b", 0)


def test_what_was_dropped_is_told_at_the_end() -> None:
    with Worker(credits=1) as worker:
        worker.ready()
        assert len(logs_of(worker, "logs", ["a"] * 5)) == 1
        worker.send(frames.SHUTDOWN, 60_000)
        assert worker.expect(frames.Log).dropped == 4


def test_credit_is_taken_while_a_handler_is_at_work(tmp_path: Path) -> None:
    with Worker(credits=1) as worker:
        worker.ready()
        stop = tmp_path / "stop"
        identity = worker.call("talks_until", [str(stop)])
        # Behind a call that waits.
        queued = worker.call("echo", ["x" * 100_000])
        assert worker.expect(frames.Log).message == "line 1"
        worker.send(frames.CREDIT, 0, 1)
        assert worker.expect(frames.Log).call == identity
        stop.touch()
        while not isinstance(got := worker.read(), frames.Result):
            assert isinstance(got, frames.Log)
        assert got.id == identity
        assert worker.expect(frames.Result).id == queued


def test_below_its_level_nothing_is_sent() -> None:
    with Worker(capture=True, log_level="warning", credits=10) as worker:
        worker.ready()
        assert logs_of(worker, "logs", ["a"]) == []
        (line,) = logs_of(worker, "noisy", [1])
        assert (line.logger, line.message, line.dropped) == ("stderr", "to stderr", 0)
        assert logs_of(worker, "flood", [10_000]) == []
        warning, error = logs_of(worker, "warns", ["x"])
        assert (warning.dropped, error.dropped) == (0, 0)


def test_a_level_of_none_silences_a_worker() -> None:
    with Worker(capture=True, log_level="none") as worker:
        worker.ready()
        assert logs_of(worker, "warns", ["x"]) == logs_of(worker, "noisy", [1]) == []


def test_an_unknown_level_is_refused() -> None:
    with Worker(log_level="loud") as worker:
        worker.start()
        assert "log_level can't be 'loud'" in worker.expect(frames.Failed).error["message"]


def test_uncaught_exceptions_are_logged_with_their_traceback() -> None:
    with Worker(credits=10) as worker:
        worker.ready()
        thread, unraisable = logs_of(worker, "fails_unseen", ["a"])
        assert (thread.level, thread.logger) == ("error", "threading")
        assert thread.message == "uncaught exception in thread the-thread"
        assert exception_of(thread).startswith("Traceback")
        assert exception_of(thread).endswith("ValueError: 100% in a thread")
        assert (unraisable.level, unraisable.logger) == ("error", "unraisable")
        # Python 3.14 says "while calling deallocator" where others say "in:".
        assert unraisable.message.startswith("Exception ignored ")
        assert "<function Unlucky.__del__" in unraisable.message
        assert exception_of(unraisable).endswith("ValueError: nobody sees it")


def test_what_is_logged_while_a_frame_is_sent_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, write = os.pipe()
    port = Port(descriptors=(read, write))
    link = Link(port)
    link.reports.add_credit(2)
    send = port._send

    # As what the garbage collector runs does.
    def send_and_log(data: bytes | memoryview) -> None:
        monkeypatch.setattr(port, "_send", send)
        link.reports.log(0, "error", "late", "from a finalizer")
        send(data)

    monkeypatch.setattr(port, "_send", send_and_log)
    link.reports.log(0, "error", "mine", "one")
    link.reports.log(0, "error", "mine", "two")
    logs = [frames.parse(port.read()) for _ in range(2)]
    assert logs == [(0, "error", "mine", "one", 0, None), (0, "error", "mine", "two", 1, None)]
    port.close()


def test_a_handler_may_do_anything_with_descriptors_3_and_4() -> None:
    with Worker(capture=True, credits=0) as worker:
        worker.ready()
        assert worker.results("abuses_descriptors", [1]) == [1]
        assert worker.results("echo", ["x" * 100_000]) == ["x" * 100_000]
        worker.send(frames.CREDIT, 0, 10)
        logs = [log.message for log in logs_of(worker, "noisy", [1])]
        assert "printed twice" in logs


def test_a_crash_is_reported_to_the_marker() -> None:
    with Worker() as worker:
        worker.ready()
        identity = worker.call("crash", [1])
        out, err = worker.process.communicate(timeout=60)
        assert worker.process.returncode == -signal.SIGSEGV
        assert out == err == b""
        content = worker.marked()
    assert int.from_bytes(content[:8], "little") == identity
    report = content[16 + ROOM :]
    assert content[8 : 16 + ROOM] == bytes(8 + ROOM)
    assert report.startswith(b"Fatal Python error: Segmentation fault\n")
    assert b"in crash\n" in report


def test_a_crash_goes_to_stderr_where_beam_has_not_opened_the_marker() -> None:
    with Worker(marker=False) as worker:
        worker.ready()
        worker.call("crash", [1])
        _, err = worker.process.communicate(timeout=60)
        assert err.startswith(b"Fatal Python error: Segmentation fault\n")
        assert worker.marked()[16 + ROOM :] == b""


def test_a_forked_child_reports_its_crash_to_its_stderr() -> None:
    with Worker(capture=True) as worker:
        worker.ready()
        logs = [log.message for log in logs_of(worker, "crashes_in_child", [1])]
        assert "Fatal Python error: Segmentation fault" in logs
        assert worker.marked()[16 + ROOM :] == b""


def test_what_was_written_last_stands_in_the_marker() -> None:
    with Worker(capture=True) as worker:
        worker.ready()
        assert len(logs_of(worker, "complains", ["earlier"])) == 1
        worker.call("complains", ["x" * 50_000, "the end", "half a line", "kill"])
        assert worker.wait() == -signal.SIGKILL
        content = worker.marked()
    words = content[16 : 16 + LAST].rstrip(b"\0") + content[16 + LAST : 16 + ROOM].rstrip(b"\0")
    assert words.endswith(b"x\nthe end\nhalf a line")
    assert b"earlier" not in words


def test_the_pipe_of_descriptor_2_is_told() -> None:
    with Worker(capture=True) as worker:
        worker.ready()
        pipe = worker.open(worker.facts["words"])
        assert stat.S_ISFIFO(os.fstat(pipe).st_mode)
        assert len(logs_of(worker, "complains", ["a"])) == 1
        os.close(pipe)


def test_without_credit_nothing_is_sent() -> None:
    with Worker(credits=0, capture=True) as worker:
        worker.ready()
        assert logs_of(worker, "logs", ["a"]) == []
        assert logs_of(worker, "noisy", [1]) == []


def test_progress_and_cancel() -> None:
    with Worker(credits=1) as worker:
        worker.ready()
        identity = worker.call("until_cancelled", [1, 2])
        assert worker.expect(frames.Progress) == (identity, 0, 2)
        queued = worker.call("echo", [5])
        worker.send(frames.CANCEL, identity)
        assert worker.expect(frames.Result)[:2] == (identity, [True, True])
        assert worker.expect(frames.Result)[:2] == (queued, [5])


def test_a_handler_may_take_the_descriptors_away() -> None:
    with Worker(capture=True, credits=0) as worker:
        worker.ready()
        assert worker.results("redirects", [1]) == [1]
        assert worker.results("flood", [10]) == [10]


def test_states_of_a_bar_come_while_the_handler_is_at_work(tmp_path: Path) -> None:
    with Worker(capture=True, credits=100) as worker:
        worker.ready()
        worker.call("draws_a_bar", [str(tmp_path / "go on")])
        # The handler waits until the file is there: this has come meanwhile.
        while (state := worker.expect(frames.Log).message) != "\r49%|":
            assert state in {f"\r{done}%|" for done in range(49)}
        (tmp_path / "go on").touch()
        last = worker.expect(frames.Log)
        assert (last.logger, last.message) == ("stderr", "100%| done")
        worker.expect(frames.Result)
