"""What a program defines in its main module, in its workers and in their children."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("escript")

PATIENCE = 60
PROGRAM = """
import concurrent.futures, dataclasses, functools, multiprocessing, pickle, sys, threading
import slither

@dataclasses.dataclass
class Point:
    x: int
    class Inner:
        pass

@functools.lru_cache
def square(x):
    return x * x

def point(x):
    return Point(x)

def in_children(kind):
    context = multiprocessing.get_context(kind)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as children:
        return list(children.map(square, [2, 3])) + [children.submit(point, 4).result().x]

def pickled(x):
    return pickle.dumps([Point(x), Point.Inner(), square, (lambda: 0).__module__])

def arguments(_item):
    return [argument.encode(errors="surrogateescape") for argument in sys.argv[1:]]
"""


def run(folder: Path, main: str, *arguments: str | bytes, module: bool = False) -> list[str]:
    (folder / "program.py").write_text(PROGRAM + main)
    how = ["-m", "program"] if module else ["program.py"]
    done = subprocess.run(
        [sys.executable, *how, *arguments],
        cwd=folder,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("kind", ["fork", "spawn", "forkserver"])
def test_a_handlers_children_find_functions_of_the_program(
    tmp_path: Path, kind: str, module: bool
) -> None:
    main = f"""
if __name__ == "__main__":
    with slither.Beam(1) as beam:
        print(*beam.map(in_children, [{kind!r}], timeout=50))
"""
    assert run(tmp_path, main, module=module) == ["[4, 9, 4]"]


@pytest.mark.parametrize("module", [False, True])
def test_the_program_reads_what_a_handler_pickles(tmp_path: Path, module: bool) -> None:
    main = """
if __name__ == "__main__":
    with slither.Beam(1) as beam:
        made, inner, function, later = pickle.loads(*beam.map(pickled, [5]))
        print(made == Point(5), type(inner) is Point.Inner, function is square, later)
"""
    assert run(tmp_path, main, module=module) == ["True True True __main__"]


def test_workers_have_the_programs_arguments(tmp_path: Path) -> None:
    main = """
if __name__ == "__main__":
    with slither.Beam(1) as beam:
        print(*beam.map(arguments, [0]))
"""
    given: list[str | bytes] = ["--rate", "é", b"\xff.txt"]
    assert run(tmp_path, main, *given) == [str([os.fsencode(part) for part in given])]


def test_threads_that_outlive_the_main_thread_use_its_functions(tmp_path: Path) -> None:
    main = """
def later(beam):
    threading.main_thread().join()
    print(*beam.map(square, [3]))
    beam.close()
if __name__ == "__main__":
    threading.Thread(target=later, args=(slither.Beam(1),)).start()
"""
    assert run(tmp_path, main) == ["9"]


def test_a_record_is_shown_once_where_the_program_has_a_handler_of_its_own(
    tmp_path: Path,
) -> None:
    main = """
import logging
log, apart = logging.getLogger("app"), logging.getLogger("apart")
for logger in (log, apart):
    logger.addHandler(logging.StreamHandler(sys.stdout))
    logger.setLevel(logging.DEBUG)
apart.propagate = False

def work(item):
    log.warning("sent %d", item)
    log.debug("not sent %d", item)
    apart.warning("apart %d", item)

if __name__ == "__main__":
    with slither.Beam(1) as beam:
        list(beam.map(work, [7]))
"""
    assert sorted(run(tmp_path, main)) == ["apart 7", "not sent 7", "sent 7"]


def test_a_type_that_the_script_registers_has_one_name_on_both_sides(tmp_path: Path) -> None:
    main = """
class Money:
    def __init__(self, cents):
        self.cents = cents

slither.register(Money, lambda money: money.cents, Money)

def twice(money):
    return Money(2 * money.cents)

if __name__ == "__main__":
    with slither.Beam(workers=1) as beam:
        print([type(one) is Money and one.cents for one in beam.map(twice, [Money(1), Money(2)])])
        print(beam.submit(twice, Money(3)).result().cents)
"""
    assert run(tmp_path, main) == ["[2, 4]", "6"]
    assert run(tmp_path, main, module=True) == ["[2, 4]", "6"]
