"""``slither top`` and ``slither diagnose``, of programs that run."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slither._cli import attach
from slither._cli.main import main
from slither._types import Payload

PATIENCE = 60.0

PROGRAM = """
import sys, time
import slither

def hang(seconds):
    time.sleep(seconds)

def odd(n):
    if n % 2:
        raise ValueError("odd")
    return n

if __name__ == "__main__":
    with slither.Beam(workers=1) as beam:
        beam.submit(abs, 1).result()
        print("ready", flush=True)
        for line in sys.stdin:
            if line == "hang\\n":
                beam.submit(hang, 600)
                beam.submit(hang, 600)
            elif line == "fail\\n":
                list(beam.map(odd, range(100), on_error="return"))
            else:
                break
            print("done", flush=True)
    print("over", flush=True)
"""


class Program:
    """A Python program with a Beam, that does what it is told, and the commands that look in."""

    def __init__(self, folder: Path) -> None:
        (folder / "watched.py").write_text(PROGRAM)
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
        self.sockets = folder / "slither"
        self.process = subprocess.Popen(
            [sys.executable, "watched.py"],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.heard()

    def heard(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.wait(PATIENCE)
        return line.strip()

    def tell(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.heard()

    def end(self) -> None:
        if self.process.poll() is None:
            assert self.tell("end") == "over"
            assert self.process.wait(PATIENCE) == 0

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "slither", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def diagnosed(self, *rules: str) -> attach.Answer:
        """Wait until rules have found something."""
        until = time.monotonic() + PATIENCE
        while True:
            done = self.command("diagnose", str(self.process.pid), "--json")
            assert done.returncode in (0, 1, 2), done
            answer: attach.Answer = json.loads(done.stdout)
            assert answer["exit"] == done.returncode
            if {*rules} <= {finding["rule"] for finding in answer["evidence"]}:
                return answer
            assert time.monotonic() < until, answer


@pytest.fixture
def program(escript: Path, tmp_path: Path) -> Iterator[Program]:
    """Starts one, and ends it."""
    found = Program(tmp_path)
    yield found
    found.process.kill()
    found.process.communicate()


def test_a_program_is_found_by_its_own_process_and_by_that_of_its_beam(program: Program) -> None:
    told = program.diagnosed("idle")
    assert told["state"] == "idle"
    assert told["text"] == "Nothing runs; 1 worker is ready"
    assert told["name"] == "watched.py"
    assert told["os_pid"] != program.process.pid
    done = program.command("diagnose", str(told["os_pid"]))
    assert (done.returncode, done.stdout) == (0, "Nothing runs; 1 worker is ready\n")
    # No other program has its socket in that folder, but others of this user may run.
    assert f"{program.process.pid} (watched.py)" in program.command("diagnose", "1").stderr


def test_a_hung_call_waits_and_failing_items_fail(program: Program) -> None:
    assert program.tell("fail") == "done"
    assert program.tell("hang") == "done"
    # The failures are still recent when the call is known to hang: both are told.
    told = program.diagnosed("failing", "stuck")
    assert (told["state"], told["exit"]) == ("failing", 2)
    assert " % of __main__.odd, ValueError, last " in told["text"]
    stuck = next(finding for finding in told["evidence"] if finding["rule"] == "stuck")
    assert stuck["pool"] == "default"
    assert "1 of 1 runs __main__.hang since " in stuck["text"]


def test_an_ordinary_end_leaves_no_file(program: Program) -> None:
    assert len(os.listdir(program.sockets)) == 1
    assert program.sockets.stat().st_mode & 0o777 == 0o700
    program.end()
    assert os.listdir(program.sockets) == []


def test_a_driver_that_is_killed_leaves_no_file(program: Program) -> None:
    beam = program.diagnosed("idle")["os_pid"]
    program.process.kill()
    program.process.wait(PATIENCE)
    until = time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/{beam}"):
        assert time.monotonic() < until
        os.sched_yield()
    assert os.listdir(program.sockets) == []


def test_a_viewer_that_reads_nothing_keeps_nobody_from_ending(program: Program) -> None:
    (name,) = os.listdir(program.sockets)
    with socket.socket(socket.AF_UNIX) as viewer:
        viewer.connect(str(program.sockets / name))
        viewer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while viewer.send(b"snapshot\n" * 1000):
                pass
        program.end()
    assert os.listdir(program.sockets) == []


def test_a_socket_of_a_beam_that_was_killed_is_taken_away(program: Program) -> None:
    left = program.sockets / "999999999.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(left))
    program.diagnosed("idle")
    assert not left.exists()


@pytest.mark.parametrize("wrong", ["--jsn", "many"])
def test_a_command_that_is_wrong_is_no_verdict(wrong: str) -> None:
    with pytest.raises(SystemExit, match="3"):
        main(["diagnose", wrong])


def test_nobody_to_look_at(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slither", "diagnose", "999999999"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "process 999999999 is no program with Slither of this user" in done.stderr


def test_a_folder_that_others_can_open_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "slither").mkdir(mode=0o755)
    assert not attach._private(str(tmp_path / "slither"))
    (tmp_path / "slither").chmod(0o700)
    assert attach._private(str(tmp_path / "slither"))
    (tmp_path / "link").symlink_to(tmp_path / "slither")
    assert not attach._private(str(tmp_path / "link"))
    assert not attach._private(str(tmp_path / "none"))


def test_top_prints_a_line_a_second_where_there_is_no_terminal(program: Program) -> None:
    top = subprocess.Popen(
        [sys.executable, "-m", "slither", "top", str(program.process.pid)],
        env=program.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert top.stdout is not None
    for _ in range(2):
        line = top.stdout.readline()
        assert line.endswith(" of 1 worker busy, 0 calls in line, 0 % failed]\n"), line
    # The program ends, and with it the show.
    program.end()
    out, err = top.communicate(timeout=PATIENCE)
    assert top.returncode == 3
    assert "\x1b" not in out
    assert "slither: the program of process " in err


class Screen:
    """``slither top`` in a terminal."""

    def __init__(self, program: Program, rows: int, columns: int) -> None:
        self.terminal, self.inside = pty.openpty()
        self.resize(rows, columns)
        self.before = self.settings()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "slither", "top", str(program.process.pid)],
            env={**program.environment, "TERM": "xterm", "NO_COLOR": ""},
            stdin=self.inside,
            stdout=self.inside,
            stderr=self.inside,
            start_new_session=True,
        )
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, size)

    def settings(self) -> list[Payload]:
        return [*termios.tcgetattr(self.inside)]

    def until(self, found: Callable[[str], bool]) -> str:
        until = time.monotonic() + PATIENCE
        while not found(self.seen):
            assert select.select([self.terminal], [], [], until - time.monotonic())[0], self.seen
            self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        return self.seen

    def type(self, letters: str) -> int:
        os.write(self.terminal, letters.encode())
        return self.process.wait(PATIENCE)


@pytest.mark.parametrize("letter", ["q", "\x03"])
def test_top_takes_the_terminal_and_gives_it_back(program: Program, letter: str) -> None:
    screen = Screen(program, rows=24, columns=80)
    seen = screen.until(lambda text: text.count("\x1b[H") >= 2)
    assert "\x1b[?1049h\x1b[?25l" in seen
    assert "POOLS" in seen
    assert "WORKERS" in seen
    assert screen.type(letter) == 0
    screen.until(lambda text: text.endswith("\x1b[?25h\x1b[?1049l"))
    assert screen.settings() == screen.before


def test_top_fits_the_window_when_that_changes(program: Program) -> None:
    screen = Screen(program, rows=30, columns=100)
    screen.until(lambda text: text.count("\x1b[H") >= 1 and "WORKERS" in text)
    screen.seen = ""
    screen.resize(3, 40)
    os.killpg(screen.process.pid, signal.SIGWINCH)
    # Once it is drawn anew, three lines are there, and each fits.
    drawn = screen.until(lambda text: "\x1b[H" in text and text.endswith("\x1b[J"))
    last = drawn.rsplit("\x1b[H", 1)[1].removesuffix("\x1b[K\x1b[J")
    while len(last.split("\x1b[K\r\n")) > 3:
        screen.seen = ""
        drawn = screen.until(lambda text: "\x1b[H" in text and text.endswith("\x1b[J"))
        last = drawn.rsplit("\x1b[H", 1)[1].removesuffix("\x1b[K\x1b[J")
    assert screen.type("q") == 0
