from __future__ import annotations

from pathlib import Path

from peer import Worker

from slither import _frames as frames


def logs_of(worker: Worker, name: str, items: list[object]) -> list[frames.Log]:
    identity = worker.call(name, items)
    logs = []
    while not isinstance(got := worker.read(), frames.Result):
        assert isinstance(got, frames.Log), got
        assert got.call == identity
        logs.append(got)
    return logs


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
        assert logs_of(worker, "logs", ["x"])[0].dropped > 0


def test_logging_and_warnings_arrive() -> None:
    with Worker(credits=10) as worker:
        worker.ready()
        (log,) = logs_of(worker, "logs", ["hello"])
        assert log[1:] == ("info", "mine", "said hello", 0)
        warning, error = logs_of(worker, "warns", ["x"])
        assert (warning.level, warning.logger) == ("warning", "py.warnings")
        assert "careful" in warning.message
        assert error.level == "error"
        assert "broken \\udcff" in error.message
        assert "KeyError: 'k'" in error.message


def test_credits_bound_the_frames_and_drops_are_told() -> None:
    with Worker(credits=2) as worker:
        worker.ready()
        assert len(logs_of(worker, "logs", ["a"] * 5)) == 2
        worker.send(frames.CREDIT, 0, 1)
        (log,) = logs_of(worker, "logs", ["b"])
        assert log.dropped == 3


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
