"""How a Beam begins and ends: with the program, whatever becomes of that."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import driven
import pytest

import slither
from slither._types import Payload

# Seconds in which all must be gone that a killed driver leaves.
GONE_WITHIN = 2.0
PATIENCE = 60.0

Script = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def script(escript: Path, tmp_path: Path) -> Iterator[Script]:
    """Starts a script in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(text: str) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text("import os, signal, subprocess, sys, time\nimport slither\n" + text)
        process = subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        # What it forked has its pipes, too, and would be waited for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    found = process.stdout.readline()
    if not found:
        raise AssertionError(finish(process))
    return found.strip()


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def await_gone(pids: list[int], within: float) -> float:
    began = time.monotonic()
    while any(map(alive, pids)):
        assert time.monotonic() < began + within, [pid for pid in pids if alive(pid)]
        os.sched_yield()
    return time.monotonic() - began


def await_waiting(pid: int) -> None:
    began = time.monotonic()
    while "futex" not in Path(f"/proc/{pid}/wchan").read_text():
        assert time.monotonic() < began + PATIENCE
        os.sched_yield()


PIDS = """
def pids(beam):
    found = [None]
    while None in found:
        found = [worker["pid"] for worker in beam.status()["workers"]]
    return [beam._link.facts["pid"], *found]
"""


def test_a_script_maps_its_own_functions(script: Script) -> None:
    code, out, err = finish(
        script(
            """
FACTOR = 3
class Odd(Exception):
    pass
def times(item):
    if item == 2:
        raise Odd("two")
    return FACTOR * item
def name(item):
    return __name__
if __name__ == "__main__":
    with slither.Beam(workers=2) as beam:
        print(*beam.map(name, [0]))
        try:
            for result in beam.map(times, range(5)):
                print(result)
        except Odd as error:
            print("caught", error)
"""
        )
    )
    assert (code, out.split("\n")[:-1]) == (0, ["__main__", "0", "3", "caught two"]), err


def test_start_hooks_of_a_script_run_before_its_first_call(script: Script) -> None:
    code, out, err = finish(
        script(
            """
from slither.worker import on_start
state = []
@on_start
def prepare():
    state.append("prepared")
def look(item):
    return state
if __name__ == "__main__":
    with slither.Beam(workers=1) as beam:
        print(*beam.map(look, [0]), *beam.map(look, [0]))
"""
        )
    )
    assert (code, out) == (0, "['prepared'] ['prepared']\n"), err


def test_a_script_without_a_guard_is_told(script: Script) -> None:
    code, _out, err = finish(
        script(
            """
def double(item):
    return 2 * item
with slither.Beam(workers=1) as beam:
    print(list(beam.map(double, [1])))
"""
        )
    )
    assert code == 1
    assert 'put that under: if __name__ == "__main__":' in err


def test_a_module_run_by_name_maps_its_functions(escript: Path, tmp_path: Path) -> None:
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tool.py").write_text(
        """
import slither
def double(item):
    return 2 * item, __name__
if __name__ == "__main__":
    with slither.Beam(workers=1) as beam:
        print(*beam.map(double, [4]))
"""
    )
    command = [sys.executable, "-m", "some_package.tool"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "(8, '__main__')\n", done.stderr


BUSY = """
def sleep(item):
    print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
    time.sleep(600)
def spin(item):
    print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
    while True:
        pass
"""


@pytest.mark.parametrize("busy", ["sleep", "spin"])
def test_a_killed_driver_leaves_nothing_behind(script: Script, busy: str) -> None:
    process = script(
        PIDS
        + BUSY
        + f"""
if __name__ == "__main__":
    with slither.Beam(workers=2) as beam:
        print(*pids(beam), flush=True)
        list(beam.map({busy}, [0, 1], batch_size=1))
"""
    )
    pids = list(map(int, line(process).split()))
    pids += [int(line(process)) for _ in range(2)]
    assert all(map(alive, pids))
    process.kill()
    await_gone(pids, GONE_WITHIN)


def test_a_killed_driver_ends_workers_whose_threads_have_no_turn(script: Script) -> None:
    process = script(
        PIDS
        + """
import re
def match(item):
    with open(f"{item}.part", "w") as file:
        file.write(str(subprocess.Popen(["sleep", "600"]).pid))
    os.rename(f"{item}.part", item)
    # Holds the interpreter, and does not end.
    re.match("(a+)+$", "a" * 64 + "b")
if __name__ == "__main__":
    with slither.Beam(workers=2) as beam:
        print(*pids(beam), flush=True)
        for name in ("one", "two"):
            beam.submit(match, name)
        for name in ("one", "two"):
            while not os.path.exists(name):
                os.sched_yield()
            print(open(name).read(), flush=True)
        time.sleep(600)
"""
    )
    pids = list(map(int, line(process).split()))
    pids += [int(line(process)) for _ in range(2)]
    assert all(map(alive, pids))
    process.kill()
    await_gone(pids, GONE_WITHIN)


def test_a_killed_driver_ends_a_beam_under_load(script: Script) -> None:
    process = script(
        PIDS
        + """
import itertools
def echo(item):
    return item
if __name__ == "__main__":
    with slither.Beam(workers=2) as beam:
        print(*pids(beam), flush=True)
        for n, _ in enumerate(beam.map(echo, itertools.repeat("x" * 1_000))):
            if n == 10_000:
                print("busy", flush=True)
"""
    )
    pids = list(map(int, line(process).split()))
    assert line(process) == "busy"
    process.kill()
    await_gone(pids, GONE_WITHIN)


def test_a_fork_of_the_driver_does_not_keep_its_beam_alive(script: Script) -> None:
    process = script(
        PIDS
        + """
if __name__ == "__main__":
    with slither.Beam(workers=1) as beam:
        print(*pids(beam), flush=True)
        child = os.fork()
        if child == 0:
            try:
                beam.status()
            except slither.BeamError as error:
                os.write(1, f"refused: {error}\\n".encode())
            for wait in (lambda: beam.submit(len, "a"), lambda: list(beam.map(len, ["a"]))):
                try:
                    wait()
                except slither.BeamError:
                    continue
                print("not refused", flush=True)
            time.sleep(600)
        os.write(1, f"{child}\\n".encode())
        time.sleep(600)
"""
    )
    pids = list(map(int, line(process).split()))
    said = sorted(line(process) for _ in range(2))
    child = int(said[0])
    assert "belongs to the process that started it" in said[1]
    process.kill()
    await_gone(pids, GONE_WITHIN)
    os.kill(child, signal.SIGKILL)


def test_a_ctrl_c_stops_everything_in_order(script: Script) -> None:
    process = script(
        PIDS
        + BUSY
        + """
if __name__ == "__main__":
    with slither.Beam(workers=2) as beam:
        print(*pids(beam), flush=True)
        list(beam.map(sleep, [0, 1], batch_size=1))
"""
    )
    pids = list(map(int, line(process).split()))
    pids += [int(line(process)) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    code, _out, err = finish(process)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    await_gone(pids, GONE_WITHIN)


def test_a_second_ctrl_c_does_not_wait(script: Script) -> None:
    process = script(
        PIDS
        + """
if __name__ == "__main__":
    try:
        with slither.Beam(workers=1, shutdown_timeout=600) as beam:
            found = pids(beam)
            os.kill(beam._link.facts["pid"], signal.SIGSTOP)
            try:
                print(*found, flush=True)
                time.sleep(600)
            finally:
                print("closing", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    )
    pids = list(map(int, line(process).split()))
    process.send_signal(signal.SIGINT)
    try:
        assert line(process) == "closing"
        await_waiting(process.pid)
        process.send_signal(signal.SIGINT)
        assert line(process) == "interrupted"
        await_gone(pids, GONE_WITHIN)
    finally:
        with contextlib.suppress(OSError):
            # One that is stopped does not see the end of its driver.
            os.kill(pids[0], signal.SIGKILL)


def test_a_beam_goes_on_after_a_ctrl_c_that_was_caught(script: Script) -> None:
    code, out, err = finish(
        script(
            """
def echo(item):
    return item
def wait(item):
    os.kill(os.getppid() and int(item), signal.SIGINT)
    time.sleep(600)
if __name__ == "__main__":
    with slither.Beam(workers=2) as beam:
        future = beam.submit(time.sleep, 0.3)
        try:
            list(beam.map(wait, [os.getpid()]))
        except KeyboardInterrupt:
            print(sum(beam.map(echo, range(1_000))), future.result())
"""
        )
    )
    assert (code, out) == (0, "499500 None\n"), err


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "0<&- 1>&- 2>&-"])
def test_a_program_without_its_standard_streams_has_a_beam(
    escript: Path, tmp_path: Path, closed: str
) -> None:
    (tmp_path / "script.py").write_text(
        """
import slither
def shout(item):
    print(item)
    return item.upper()
if __name__ == "__main__":
    with slither.Beam(workers=1) as beam:
        open("found", "w").write("".join(beam.map(shout, ["a"])))
"""
    )
    command = ["sh", "-c", f'exec "{sys.executable}" script.py {closed}']
    subprocess.run(command, cwd=tmp_path, stderr=subprocess.DEVNULL, check=True)
    assert (tmp_path / "found").read_text() == "A"


def test_the_end_of_the_program_ends_a_beam_that_was_left_open(script: Script) -> None:
    process = script(
        PIDS
        + """
if __name__ == "__main__":
    beam = slither.Beam(workers=1)
    print(*pids(beam), flush=True)
"""
    )
    pids = list(map(int, line(process).split()))
    assert finish(process)[0] == 0
    await_gone(pids, GONE_WITHIN)


def test_a_beam_closes_while_a_thread_reads(escript: Path) -> None:
    beam = slither.Beam(workers=1, shutdown_timeout=10 * PATIENCE)
    reading = threading.Event()
    found: list[BaseException] = []

    def read() -> None:
        try:
            for _ in beam.map(driven.echo, itertools.repeat(0)):
                reading.set()
        except slither.BeamClosed as error:
            found.append(error)

    threads = [threading.Thread(target=read), threading.Thread(target=beam.close)]
    threads[0].start()
    assert reading.wait(PATIENCE)
    threads[1].start()
    for thread in reversed(threads):
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert "the Beam is closed" in str(found)


def test_the_end_of_a_busy_worker_is_no_death(
    escript: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with slither.Beam(workers=4) as beam:
            futures = [beam.submit(driven.hang, PATIENCE) for _ in range(4)]
            while sum(worker["calls"] for worker in beam.status()["workers"]) < len(futures):
                pass
        assert not [record for record in caplog.records if record.name == "slither.beam"]
        for future in futures:
            with pytest.raises(slither.BeamClosed):
                future.result()


def test_a_beam_that_nobody_holds_is_closed(escript: Path) -> None:
    beam = slither.Beam(workers=1)
    results = beam.map(driven.echo, [1, 2])
    assert next(results) == 1
    process = beam._link.child.process
    del beam
    gc.collect()
    assert next(results) == 2
    del results
    gc.collect()
    assert process.wait(PATIENCE) == 0


def test_a_beam_that_dies_is_an_exception_with_its_last_lines(escript: Path) -> None:
    with slither.Beam(workers=1) as beam:
        future = beam.submit(driven.hang, 600)
        results = beam.map(driven.hang, [600])
        # What BEAM says when it is told to abort.
        beam._link.child.process.send_signal(signal.SIGUSR1)
        with pytest.raises(slither.BeamDied) as caught:
            next(results)
        assert "Received SIGUSR1" in "\n".join(caught.value.log)
        assert isinstance(future.exception(), slither.BeamDied)
        with pytest.raises(slither.BeamDied):
            beam.submit(driven.echo, 1).result()


def test_a_beam_that_is_killed_says_so(escript: Path) -> None:
    with slither.Beam(workers=1) as beam:
        beam._link.child.process.kill()
        with pytest.raises(slither.BeamDied, match="BEAM was killed by signal 9") as caught:
            list(beam.map(driven.echo, [1]))
        assert caught.value.status == -9


def test_a_closed_beam_says_so(escript: Path) -> None:
    beam = slither.Beam(workers=1)
    beam.close()
    beam.close()
    with pytest.raises(slither.BeamClosed, match="the Beam is closed"):
        beam.submit(driven.echo, 1)
    assert "closed" in repr(beam)


def test_without_erlang_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, escript: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for tool, words in [("apt-get", "apt-get install erlang-base"), ("apk", "apk add erlang")]:
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
        with pytest.raises(slither.BeamMissing, match=words):
            slither.Beam()
        (tmp_path / tool).unlink()
    with pytest.raises(slither.BeamMissing, match="Erlang/OTP 25 or newer: https://"):
        slither.Beam()


def test_without_the_beam_side_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLITHER_ESCRIPT", str(tmp_path / "none"))
    with pytest.raises(slither.BeamMissing, match=r"SLITHER_ESCRIPT names .*/none, which is no"):
        slither.Beam()


def test_an_erl_that_cannot_run_it_is_an_exception_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, escript: Path
) -> None:
    erl = tmp_path / "erl"
    erl.write_text("#!/bin/sh\necho {undef,[{crypto,info,[]}]}\nexit 1\n")
    erl.chmod(0o755)
    monkeypatch.setenv("SLITHER_ERL", str(erl))
    with pytest.raises(slither.BeamDied, match=r"(?s)exit status 1.*crypto,info"):
        slither.Beam()


@pytest.mark.parametrize("workers", [0, -1, True, "2", 1.5])
def test_a_count_of_workers_that_makes_no_sense_is_refused(workers: Payload) -> None:
    with pytest.raises(ValueError, match="workers is a whole number from 1 to 1,000"):
        slither.Beam(workers=workers)


BAD_POOLS: list[tuple[Payload, type[Exception], str]] = [
    (
        {"max_request": 3},
        TypeError,
        r"unknown option 'max_request'. Did you mean 'max_requests'\?",
    ),
    ({"size": 3}, TypeError, "'size' is an argument of the Beam itself: workers="),
    (7, TypeError, "pool takes a dict of options, not 7"),
    ({"max_rss": "much"}, ValueError, "pool: max_rss is a whole number of 1 or more, or None"),
    ({"rlimits": {"nofile": "many"}}, ValueError, "pool: rlimits is a dict of limits by name"),
    ({"rlimits": {"nofile": (1, 2, 3)}}, ValueError, "pool: rlimits is a dict of limits by name"),
    (
        {"max_age": 0},
        ValueError,
        "pool: max_age is a number of seconds above 0, of 49 days at most, or None, not 0",
    ),
    ({"log_level": "loud"}, ValueError, "pool: log_level is 'debug' or 'info' or"),
    ({"capture_failures": 3}, ValueError, "pool: capture_failures is a folder, or None"),
]


@pytest.mark.parametrize(("pool", "error", "words"), BAD_POOLS)
def test_options_of_the_pool_are_checked_before_anything_starts(
    pool: Payload, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        slither.Beam(workers=1, pool=pool)


def test_other_arguments_are_checked_too(escript: Path) -> None:
    with pytest.raises(ValueError, match="cwd is a folder that is there, not '/no/such/folder'"):
        slither.Beam(workers=1, cwd="/no/such/folder")
    with pytest.raises(slither.EncodeError, match=r"initargs\[0\]: an object cannot be sent"):
        slither.Beam(workers=1, initializer=driven.echo, initargs=[object()])
    # What only BEAM finds is an error of the same kind.
    with pytest.raises(ValueError, match="option 'preload' takes a list"):
        slither.Beam(workers=1, preload=[1])  # type: ignore[list-item]


def test_a_beam_without_limits_starts(escript: Path) -> None:
    with slither.Beam(workers=1, startup_timeout=None) as beam:
        assert list(beam.map(driven.echo, [1])) == [1]


def test_workers_that_cannot_start_say_why(escript: Path) -> None:
    with slither.Beam(workers=1, preload=["no_such_module"]) as beam:
        with pytest.raises(slither.CallError, match="no module is named 'no_such_module'"):
            beam.map(driven.echo, [1]).__next__()
        with pytest.raises(slither.CallError, match="no_such_module"):
            beam.wait_ready()
    with slither.Beam(workers=1, initializer=driven.no_fives, initargs=(5,)) as beam:
        found = r"no worker could be started: .* worker can't start: ValueError: \('a five', 5\)"
        with pytest.raises(slither.CallError, match=found) as caught:
            beam.submit(driven.echo, 1).result(PATIENCE)
        assert 'raise ValueError("a five", item)' in str(caught.value.__cause__)


def test_a_worker_loads_nothing_of_the_driver(escript: Path) -> None:
    # Workers of its own: those that tests share have loaded whatever these called.
    with slither.Beam(workers=1) as beam:
        loaded: set[str] = set(*beam.map(driven.modules, [0]))
    assert not [name for name in loaded if name.startswith("slither._driver")]
    assert not {"asyncio", "concurrent.futures", "numpy"} & loaded
