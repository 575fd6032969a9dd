from __future__ import annotations

import functools
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path

import driven
import pytest

import slither
from slither._driver.functions import reference


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (driven.double, ("driven", "double")),
        (driven.Box.plain, ("driven", "Box.plain")),
        (driven.Box, ("driven", "Box")),
        (len, ("builtins", "len")),
        (str.upper, ("builtins", "str.upper")),
    ],
)
def test_a_function_goes_by_module_and_name(
    function: Callable[..., object], found: tuple[str, str]
) -> None:
    assert reference(function) == found


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda item: item, "a lambda has no name"),
        (driven.closure(), "inner is defined within a function"),
        (functools.partial(driven.double, 1), "a partial of double lives in this process alone"),
        (driven.Box().method, "Box.method is bound to an object of this process"),
        (driven.Box(), "has no name by which a worker could find it"),
        (driven.first_shadowed, "would look for driven:shadowed, and another object has it"),
        (7, "a handler is a function"),
    ],
)
def test_what_a_worker_could_not_import_is_refused_with_the_reason(
    function: Callable[..., object], why: str
) -> None:
    with pytest.raises(slither.NotImportable, match=why):
        reference(function)


def test_what_can_be_submitted_and_mapped_is_the_same(beam: slither.Beam) -> None:
    for refuse in (beam.map, beam.amap):
        with pytest.raises(slither.NotImportable):
            refuse(lambda item: item, [1])
    with pytest.raises(slither.NotImportable):
        beam.submit(lambda item: item, 1)
    with pytest.raises(TypeError), slither.Executor(beam=beam) as executor:
        executor.submit(lambda item: item, 1)


MAIN = """
import shouting
import slither
def here(item): return item + 1
if __name__ == "__main__":
    with slither.Beam(workers=1) as beam:
        print(*beam.map(shouting.shout, ["a"]))
        try:
            print(*beam.map(here, [1]))
        except slither.NotImportable as error:
            print("refused:", error)
"""


def test_a_folder_and_an_archive_run_by_path(escript: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "__main__.py").write_text(MAIN)
    (app / "shouting.py").write_text("def shout(item): return item.upper()")
    zipapp.create_archive(app, tmp_path / "app.pyz")
    for name, found in (
        ("app", "A\n2\n"),
        ("app.pyz", "A\nrefused: here is defined in the __main__"),
    ):
        command = [sys.executable, str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.startswith(found), done.stderr


REPL = """
import os
import slither
def here(item): return item

with slither.Beam(workers=1) as beam:
    print("basename", *beam.map(os.path.basename, ["/a/b"]))
    try:
        beam.map(here, [1])
    except slither.NotImportable as error:
        print("refused:", error)

"""


def test_a_repl_maps_what_can_be_imported_and_says_so_of_the_rest(
    escript: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-i", "-q"]
    done = subprocess.run(
        command, input=REPL, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "basename b" in done.stdout, done.stderr
    assert "refused: here is defined in an interactive session" in done.stdout
