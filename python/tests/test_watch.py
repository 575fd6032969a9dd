"""Hot reload: a file that workers have imported changes, and new workers take over."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import cast

import pytest

import slither
from slither._worker import sources

# Seconds after which nothing will come.
PATIENCE = 120

PIPES = """
from slither import Pipe

def shout(row):
    return str(row).upper() + "%s"

loud = Pipe("loud").python("shout", shout, batch_size=1)%s
"""


class Lines(logging.Handler):
    """What a logger is given."""

    def __init__(self) -> None:
        super().__init__()
        self.came: Queue[logging.LogRecord] = Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.came.put(record)


@pytest.fixture
def told() -> Iterator[Lines]:
    logger = logging.getLogger("slither.beam")
    handler, level = Lines(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_workers_of_a_program_get_new_functions_and_the_program_keeps_its_own(
    escript: Path, tmp_path: Path, told: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "watched_by_a_program.py"
    file.write_text("def version(_item): return 1\n")
    module = importlib.import_module("watched_by_a_program")
    with slither.Beam(workers=2, watch=True) as beam:
        assert list(beam.map(module.version, range(4))) == [1] * 4
        file.write_text("def version(_item): return 2\n")
        got = threading.Event()
        # What workers say comes out while the program waits for results.
        thread = threading.Thread(target=_ask, args=(beam, got, told))
        thread.start()
        assert got.wait(PATIENCE)
        thread.join()
        answers = list(beam.map(module.version, range(4)))
        assert answers == [2] * 4
    assert module.version(0) == 1


def _ask(beam: slither.Beam, got: threading.Event, told: Lines) -> None:
    while told.came.empty():
        beam.submit(abs, 1).result()
    record = told.came.get()
    text = record.getMessage()
    assert record.levelno == logging.INFO
    assert "watched_by_a_program.py changed: the workers are replaced" in text
    assert text.endswith("; the program itself goes on with what it has imported")
    while beam.status().workers[0].age is None or len(beam.status().workers) > 2:
        pass
    got.set()


def test_a_run_of_the_command_goes_on_with_new_functions_and_the_pipe_as_it_was(
    escript: Path,
    tmp_path: Path,
) -> None:
    pipes = tmp_path / "watched_pipes.py"
    pipes.write_text(PIPES % ("!", ""))
    command = [sys.executable, "-m", "slither", "run", "watched_pipes.py", "--watch"]
    with subprocess.Popen(
        [*command, "--workers", "1", "--from", "lines", "--only", "default"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("a\n")
        assert process.stdout.readline() == '"A!"\n'
        # Another function, and another stage behind it.
        pipes.write_text(PIPES % ("?", '.python("again", shout)'))
        line = process.stderr.readline()
        assert line.startswith("slither: watched_pipes.py changed: the workers")
        while True:
            process.stdin.write("b\n")
            if (answer := process.stdout.readline()) != '"B!"\n':
                break
        assert answer == '"B?"\n'
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(PATIENCE) == 0


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of modules, whose sources a worker would tell of."""
    from importlib.machinery import SourceFileLoader

    from slither._worker import current

    monkeypatch.setattr(SourceFileLoader, "get_code", SourceFileLoader.get_code)
    monkeypatch.setattr(current, "noted", None)
    monkeypatch.setattr(sources, "_followed", False)
    monkeypatch.syspath_prepend(tmp_path)
    sources.follow()
    for _ in sources.news():
        pass
    return tmp_path


def _told() -> dict[str, tuple[str, int]]:
    return {
        cast(bytes, path).decode(): (cast(str, name), cast(int, size))
        for told in sources.news()
        for name, path, size, _checksum in told
    }


def test_what_is_imported_is_told_once_and_again_when_it_is_read_again(followed: Path) -> None:
    file = followed / "told_once.py"
    file.write_text("value = 1\n")
    module = importlib.import_module("told_once")
    assert _told() == {str(file): ("told_once", 10)}
    assert _told() == {}
    file.write_text("value = 22\n")
    importlib.reload(module)
    assert module.value == 22
    assert _told() == {str(file): ("told_once", 11)}
    sources.tell_all()
    assert _told()[str(file)] == ("told_once", 11)


def test_a_file_with_a_mistake_is_told_of_too(followed: Path) -> None:
    file = followed / "told_broken.py"
    file.write_text("def\n")
    with pytest.raises(SyntaxError):
        importlib.import_module("told_broken")
    assert _told() == {str(file): ("told_broken", 4)}


def test_modules_of_packages_and_of_python_are_not_told_of(followed: Path) -> None:
    (followed / "site-packages").mkdir()
    (followed / "site-packages" / "told_bought.py").write_text("")
    sys.path.insert(0, str(followed / "site-packages"))
    try:
        importlib.import_module("told_bought")
        importlib.import_module("colorsys")
        importlib.import_module("slither.replay")
    finally:
        sys.path.pop(0)
    assert _told() == {}


def test_of_changed_modules_those_that_are_gone_are_left_out(followed: Path) -> None:
    (followed / "told_changed.py").write_text("import told_missing_too\n")
    sources.import_changed(["told_missing", "told_missing.part", "json"])
    with pytest.raises(ModuleNotFoundError, match="told_missing_too"):
        sources.import_changed(["told_changed"])


def test_watch_takes_a_bool() -> None:
    with pytest.raises(ValueError, match="watch is True or False, not 1"):
        slither.Beam(watch=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'watch' is an argument of the Beam itself: watch="):
        slither.Beam(pool={"watch": True})  # type: ignore[arg-type]
