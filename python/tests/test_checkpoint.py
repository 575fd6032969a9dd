"""Runs of a Python program that are resumed, refused, or killed at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import slither
from slither import Pipe, RunError
from slither._driver.sources import source

PROGRAM = """
import os, sys
import slither
from slither import Pipe

FACTOR = 10

def token(n):
    return [n * FACTOR, os.urandom(4).hex()]

def work(rows: list) -> list:
    return [token(n) for n in rows]

pipe = Pipe("p").python("work", work, batch_size=3, max_in_flight=3)

if __name__ == "__main__":
    inputs = range(*map(int, sys.argv[1].split(":")))
    with slither.Beam(workers=2) as beam:
        try:
            for _, value in beam.stream(pipe, inputs, checkpoint="ck", resume=sys.argv[2]):
                print(*value, flush=True)
        except slither.RunError as error:
            print("refused", error.__cause__, flush=True)
"""


@pytest.fixture
def program(escript: Path, tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def start(program: Path, inputs: str = "0:60", resume: str = "same") -> subprocess.Popen[str]:
    command = [sys.executable, str(program), inputs, resume]
    return subprocess.Popen(command, cwd=program.parent, stdout=subprocess.PIPE, text=True)


def lines(program: Path, inputs: str = "0:60", resume: str = "same") -> list[str]:
    said, _ = start(program, inputs, resume).communicate(timeout=120)
    return said.splitlines()


def beams(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children]


def test_killed_runs_in_the_end_give_everything_once(program: Path) -> None:
    rounds = int(os.environ.get("SLITHER_KILLS", "6"))
    seen: dict[str, str] = {}
    kills = 0
    dice = random.Random(rounds)
    while kills < rounds:
        (program.parent / "ck").unlink(missing_ok=True)
        seen.clear()
        while kills < rounds:
            process = start(program)
            assert process.stdout is not None
            until = dice.randrange(60)
            got = []
            for line in process.stdout:
                got.append(line.strip())
                if len(got) > until:
                    break
            whole = len(got) == 60
            # Of the two that hold the run, now the one dies and now the other.
            victim = process.pid if dice.random() < 0.5 else (beams(process) or [process.pid])[0]
            os.kill(victim, signal.SIGKILL)
            process.stdout.close()
            process.wait()
            kills += 1
            if any(line.startswith("refused") for line in got):
                # A BEAM whose program was killed may still be on its way out.
                assert "is in use by" in got[-1]
                continue
            for line in got:
                number, token = line.split()
                assert seen.setdefault(number, token) == token
            if whole:
                break
        final = lines(program)
        while final[0].startswith("refused"):
            assert "is in use by" in final[0]
            final = lines(program)
        assert [line.split()[0] for line in final] == [str(n * 10) for n in range(60)]
        tokens = dict(line.split() for line in final)
        assert {number: tokens[number] for number in seen} == seen


def test_another_input_is_refused_by_its_first_position(program: Path) -> None:
    assert len(lines(program, "0:20")) == 20
    (refused,) = lines(program, "1:30")
    assert "is of another input: item 0 differs" in refused
    assert len(lines(program, "0:30")) == 30


def test_another_handler_is_refused_unless_anyway(program: Path) -> None:
    before = lines(program, "0:6")
    program.write_text(program.read_text().replace("FACTOR = 10", "FACTOR = 100"))
    (refused,) = lines(program, "0:9")
    assert "different: source of __main__:work" in refused
    after = lines(program, "0:9", "anyway")
    assert after[:6] == before
    assert [line.split()[0] for line in after[6:]] == ["600", "700", "800"]
    assert lines(program, "0:9") == after


def test_a_second_program_is_refused_while_the_first_runs(
    program: Path, slither_beam: slither.Beam, tmp_path: Path
) -> None:
    def inputs() -> Iterator[int]:
        yield 1
        (refused,) = lines(program, "0:3")
        assert "is in use by the BEAM with process id" in refused
        yield 2

    pipe = Pipe("q").route("r", a=slither.item > 0).output("a")
    assert slither_beam.run(pipe, inputs(), checkpoint=tmp_path / "ck")["a"] == [1, 2]


def test_a_checkpoint_that_cannot_be_written_is_an_error(slither_beam: slither.Beam) -> None:
    pipe = Pipe("q").route("r", a=slither.item > 0).output("a")
    with pytest.raises(RunError, match=r"checkpoint /proc/none/ck: can't be used") as caught:
        slither_beam.run(pipe, [1], checkpoint="/proc/none/ck")
    assert caught.value.partial == {"a": [], "default": []}
    with pytest.raises(ValueError, match="resume"):
        slither_beam.run(pipe, [1], checkpoint="ck", resume="maybe")


LIMIT = 3


def helper(n: int) -> int:
    return n + LIMIT


def uses_helper(rows: list[int]) -> list[int]:
    return [helper(json.loads(str(n))) for n in rows]


def test_a_source_has_what_a_handler_names_of_its_program() -> None:
    text = source(uses_helper)
    assert text is not None
    assert "def uses_helper" in text
    assert "return n + LIMIT" in text
    assert "LIMIT = 3" in text
    assert "class JSONDecoder" not in text
    assert source(len) is None
