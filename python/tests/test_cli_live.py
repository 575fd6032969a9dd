"""``slither run`` where the input pauses: what was given does not wait for more."""

from __future__ import annotations

import io
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from slither._cli.live import Live
from slither._cli.reading import MARKS, Paused
from slither._types import Payload

ROUNDS = 5
# Seconds after which nothing will come.
PATIENCE = 120

PIPES = """
from collections.abc import Iterator
from slither import Pipe, item

def shout(row):
    return str(row if isinstance(row, str) else row["n"]).upper()

def two(row) -> Iterator:
    yield row["n"]
    yield row["n"]

loud = Pipe("loud").python("shout", shout)
fixed = Pipe("fixed").python("shout", shout, batch_size=64)
twice = Pipe("twice").python("two", two, cardinality="many")
"""


class Command:
    """A run of the command that waits for its input."""

    def __init__(self, folder: Path, *arguments: str, stdin: int = subprocess.PIPE) -> None:
        command = [sys.executable, "-m", "slither", "run", *arguments, "--workers", "1"]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    def give(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    def line(self) -> str:
        """Wait for a line of stdout."""
        found = b""
        assert self.process.stdout is not None
        while not found.endswith(b"\n"):
            ready = select.select([self.process.stdout], [], [], PATIENCE)[0]
            assert ready, f"no output but {found!r}"
            found += os.read(self.process.stdout.fileno(), 1) or self._broken()
        return found.decode()

    def end(self) -> tuple[int, str, str]:
        """End the input; return the status, and the rest of stdout and stderr."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.decode(), err.decode()

    def _broken(self) -> bytes:
        raise AssertionError(self.end())


Start = Callable[..., Command]


@pytest.fixture
def start(escript: Path, tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "pipes.py").write_text(PIPES)
    begun: list[Command] = []

    def run(*arguments: str, **options: Payload) -> Command:
        begun.append(Command(tmp_path, *arguments, **options))
        return begun[-1]

    yield run
    for command in begun:
        command.process.kill()
        with command.process:
            pass


# What is given in one round, before its answer is waited for.
GIVEN: dict[str, Callable[[int], str]] = {
    "jsonl": lambda n: f'{{"n": "a{n}"}}\n',
    "lines": lambda n: f"a{n}\n",
    "csv": lambda n: ("n,m\n" if n == 0 else "") + f"a{n},1\n",
    # What comes behind it is no row.
    "jsonl and a blank line": lambda n: f'\n{{"n": "a{n}"}}\n\n',
    "jsonl and a bad row": lambda n: f'{{"n": "a{n}"}}\n{{"n":\n',
    "jsonl and a part of the next": lambda n: (
        f'{{"n": "a{n}"' * (n == 0) + f'}}\n{{"n": "a{n + 1}"' * (n < ROUNDS)
    ),
    "csv and a part of the next": lambda n: 'n,m\na0,"1\n' * (n == 0) + f'2"\na{n + 1},"1\n',
}


@pytest.mark.parametrize("name", ["loud", "fixed"])
@pytest.mark.parametrize("kind", GIVEN)
def test_each_row_is_answered_before_the_next_is_given(
    start: Start, kind: str, name: str
) -> None:
    source = kind.partition(" ")[0]
    command = start(
        f"pipes.py:{name}", "--from", source, "--only", "default", "--on-bad-row", "skip"
    )
    for n in range(ROUNDS):
        command.give(GIVEN[kind](n))
        assert command.line() == f'"A{n}"\n'
    command.process.send_signal(signal.SIGINT)
    status, out, err = command.end()
    assert (status, out) == (130, ""), err


def test_a_run_ends_with_its_input(start: Start) -> None:
    command = start("pipes.py:loud", "--from", "lines", "--only", "default")
    command.give("a\r\nb\n")
    assert [command.line(), command.line()] == ['"A"\n', '"B"\n']
    command.give("c\nwithout an end")
    status, out, err = command.end()
    assert (status, out) == (0, '"C"\n"WITHOUT AN END"\n'), err
    assert "4" in err


def test_all_that_comes_of_a_row_comes_before_the_next_is_given(start: Start) -> None:
    command = start("pipes.py:twice", "--only", "default")
    for n in range(ROUNDS):
        command.give(f'{{"n": {n}}}\n')
        assert [command.line(), command.line()] == [f"{n}\n", f"{n}\n"]
    assert command.end()[0] == 0


@contextmanager
def _fifo(path: Path) -> Iterator[int]:
    os.mkfifo(path)
    # Open for both, so that it needs no one at its other end.
    number = os.open(path, os.O_RDWR)
    try:
        yield number
    finally:
        os.close(number)


def test_a_named_pipe_is_read_as_it_comes_and_files_are_written_so(
    start: Start, tmp_path: Path
) -> None:
    written, errors = tmp_path / "out" / "default.jsonl", tmp_path / "bad.jsonl"
    with _fifo(tmp_path / "rows") as fifo:
        command = start(
            "pipes.py:loud",
            *("--input", "rows", "--output", "out", "--on-bad-row", "bad.jsonl"),
            stdin=subprocess.DEVNULL,
        )
        for n in range(ROUNDS):
            os.write(fifo, f'{{"n": "a{n}"}}\n'.encode())
            _until(written, n + 1, command)
            os.write(fifo, b"no row\n")
            _until(errors, n + 1, command)
        command.process.send_signal(signal.SIGINT)
        assert command.end()[0] == 130
    assert written.read_text() == "".join(f'"A{n}"\n' for n in range(ROUNDS))


def _until(path: Path, count: int, command: Command) -> None:
    while not path.exists() or path.read_text().count("\n") < count:
        assert command.process.poll() is None
        os.sched_yield()


def test_a_closed_stdin_is_named(start: Start, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "slither", "run", "pipes.py:loud"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "stdin is closed; give --input FILE" in done.stderr


def test_an_empty_stdin_is_an_empty_run(start: Start) -> None:
    command = start("pipes.py:loud")
    assert command.end()[:2] == (0, "")


@contextmanager
def _live(encoding: str) -> Iterator[tuple[Live, io.FileIO]]:
    read, write = os.pipe()
    with open(read, "rb") as file, open(write, "wb", buffering=0) as end:
        assert isinstance(file, io.BufferedReader)
        with Live(file, encoding) as live:
            yield live, end


def test_lines_are_those_of_a_file_wherever_the_parts_of_them_end() -> None:
    chance = random.Random(17)
    for _ in range(300):
        encoding = chance.choice(["utf-8", "utf-16", "latin-1", "shift_jis"])
        text = "".join(chance.choices(["a", "bc", "\r", "\n", "\r\n", "\x0b", "\x85"], k=20))
        data = text.replace("\x85", "").encode(encoding) + chance.choice([b"", b"\xff", b"\x81"])
        file = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, errors=MARKS, newline="")
        got: list[str] = []
        with _live(encoding) as (live, end):
            while data:
                count = chance.randint(1, 6)
                end.write(data[:count])
                data = data[count:]
                got.extend(_now(live))
            end.close()
            got.extend(_now(live))
            assert live.readline(9) == ""
        assert got == file.readlines(), (encoding, text)


def _now(live: Live) -> Iterator[str]:
    try:
        while line := live.readline(1_000):
            yield line
    except Paused:
        return


def test_a_line_without_an_end_is_given_in_part() -> None:
    with _live("utf-8") as (live, end):
        end.write(b"abcdef")
        assert live.readline(4) == "abcd"


def test_one_who_waits_is_woken_by_a_line_and_by_news() -> None:
    with _live("utf-8") as (live, end):
        with pytest.raises(Paused):
            live.readline(9)
        live.wake()
        with pytest.raises(Paused):
            live.readline(9)
        with ThreadPoolExecutor() as others:
            others.submit(end.write, b"a\n")
            assert _first(live) == "a\n"
            others.submit(live.wake)
            with pytest.raises(Paused):
                live.readline(9)
            with pytest.raises(Paused):
                live.readline(9)
    live.wake()


def _first(live: Live) -> str:
    while True:
        with suppress(Paused):
            return live.readline(9)
