"""Workers import what their program imports: the same folders in the same order."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from slither._driver import search

ROOT = Path(__file__).parents[2]
PATIENCE = 60

PROGRAM = """
import importlib, json, os, sys
import slither

NAMES = ["own", "shared", "pointed", "packed", "late", "json", "msgpack"]

def look(_item=None):
    found = {name: importlib.import_module(name).__file__ for name in NAMES}
    return {"path": [os.path.abspath(entry) for entry in sys.path], "found": found}

if __name__ == "__main__":
    sys.path.append("added")
    with slither.Beam(workers=1, **eval(sys.argv[1])) as beam:
        print(json.dumps([look(), beam.submit(look).result()]))
"""


def package(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(f"PLACE = {str(folder)!r}\n")


def packages_of(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "posix_prefix", vars={"base": str(folder)}))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An environment that sees the system's and the user's packages, and hides some of them."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", system_site_packages=True, with_pip=False, symlinks=True)
    own = packages_of(folder / "venv")
    user = Path(sysconfig.get_path("purelib", "posix_user", vars={"userbase": f"{folder}/user"}))
    for place in (own, user, folder / "pointed", folder / "variable"):
        package(place, "shared")
    package(own, "own")
    package(user, "own")
    package(folder / "pointed", "pointed")
    # Shadows nothing in the program, as it stands behind the standard library.
    package(user, "json")
    package(folder / "program" / "added", "late")
    with zipfile.ZipFile(folder / "variable" / "archive.zip", "w") as archive:
        archive.writestr("packed.py", "")
    # As an installation that can be edited leaves it, and an older one of other packages.
    tests = sysconfig.get_path("purelib")
    (own / "links.pth").write_text(f"{folder / 'pointed'}\n{ROOT / 'python'}\n{tests}\n")
    (folder / "program" / "program.py").write_text(PROGRAM)
    variables = {
        **os.environ,
        "PYTHONUSERBASE": str(folder / "user"),
        "PYTHONPATH": str(folder / "variable" / "archive.zip"),
        "SLITHER_ESCRIPT": str(ROOT / "_build" / "slither.escript"),
    }
    return folder, variables


def run(
    environment: tuple[Path, dict[str, str]], options: str = "{}", cwd: str = "program"
) -> list[dict[str, Any]]:
    folder, variables = environment
    program = os.path.relpath(folder / "program" / "program.py", folder / cwd)
    done = subprocess.run(
        [folder / "venv" / "bin" / "python", program, options],
        cwd=folder / cwd,
        env=variables,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_worker_searches_where_its_program_does_in_that_order(
    escript: Path, environment: tuple[Path, dict[str, str]]
) -> None:
    program, worker = run(environment)
    folder = environment[0]
    assert worker == program
    assert worker["found"]["shared"] == str(packages_of(folder / "venv") / "shared.py")
    assert str(folder) not in worker["found"]["json"]


def test_the_folder_that_a_program_runs_in_hides_nothing_from_its_workers(
    escript: Path, environment: tuple[Path, dict[str, str]]
) -> None:
    folder = environment[0]
    package(folder / "elsewhere", "json")
    package(folder / "elsewhere" / "added", "late")
    program, worker = run(environment, cwd="elsewhere")
    assert worker["found"] == program["found"]
    # Code may still be imported from it, as the last place.
    assert worker["path"] == [*program["path"], str(folder / "elsewhere")]


def test_what_a_beam_is_given_comes_first(
    escript: Path, environment: tuple[Path, dict[str, str]]
) -> None:
    folder = environment[0]
    given, variable = str(folder / "given"), str(folder / "for_workers")
    package(folder / "for_workers", "shared")
    options = {"paths": [given], "env": {"PYTHONPATH": variable}}
    program, worker = run(environment, repr(options))
    assert worker["path"] == [given, variable, *program["path"]]
    assert worker["found"]["shared"] == str(folder / "for_workers" / "shared.py")


def test_another_environment_has_its_own_packages(tmp_path: Path) -> None:
    # Both are links to one file, by which alone they can't be told apart.
    venv.create(tmp_path / "other", with_pip=False, symlinks=True)
    python = tmp_path / "other" / "bin" / "python"
    assert python.resolve() == Path(sys.executable).resolve()
    assert search.search_path(str(python)) == [os.path.abspath(sys.path[0])]
    mine = search.search_path(sys.executable)
    assert mine == list(dict.fromkeys(map(os.path.abspath, sys.path)))


def test_what_is_no_text_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/a\udcff", Path("/b"), "/c", "/c", "/d/../c"])
    assert search.search_path(sys.executable) == ["/c"]


def test_folders_of_packages_are_not_named_where_workers_have_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(search, "_PACKAGE", str(tmp_path / "slither"))
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    assert search.environment({}, sys.executable) == {"PYTHONPATH": "/theirs"}
    given = {"PYTHONPATH": None, "A": "b"}
    assert search.environment(given, sys.executable) == given
    # The system's are not those of another environment.
    other = str(tmp_path / "python")
    assert search.environment({}, other) == {"PYTHONPATH": f"{tmp_path}:/theirs"}
    packages = sysconfig.get_path("purelib")
    monkeypatch.setattr(search, "_PACKAGE", os.path.join(packages, "slither"))
    assert search.environment({}, other) == {"PYTHONPATH": "/theirs"}
