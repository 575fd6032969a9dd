"""What the README and the guide for Python users show runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
Block = tuple[str, str]


def blocks(document: str) -> list[Block]:
    return BLOCK.findall((ROOT / document).read_text())


def name(text: str) -> str:
    return text.split("\n", 1)[0].removeprefix("# ")


def scripts(blocks: list[Block]) -> list[Block]:
    """The scripts that a document shows, with what each prints."""
    return [
        (text, after[1])
        for (language, text), after in zip(blocks, [*blocks[1:], ("", "")], strict=True)
        if language == "python" and after[0] == "text"
    ]


GUIDE = blocks("guides/python-first.md")
# The last of them needs more than Slither: `ecosystem/` has it run.
SCRIPTS = scripts(GUIDE) + scripts(blocks("guides/values.md"))[:-1]


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("text", "shown"), SCRIPTS, ids=[name(text) for text, _ in SCRIPTS])
def test_a_script_of_the_guide_prints_what_is_shown(
    escript: Path, tmp_path: Path, text: str, shown: str
) -> None:
    (tmp_path / name(text)).write_text(text)
    assert run(tmp_path, name(text)).strip() == shown.strip()


def test_the_guides_tests_pass(escript: Path, tmp_path: Path) -> None:
    for language, text in GUIDE:
        if language == "python":
            (tmp_path / name(text)).write_text(text)
    assert "3 passed" in run(tmp_path, "-m", "pytest", "-q", "test_ratings.py")


def test_the_script_of_the_readme_runs(escript: Path, tmp_path: Path) -> None:
    [text] = [text for language, text in blocks("README.md") if "# survey.py" in text]
    assert len([line for line in text.splitlines() if line]) <= 30
    (tmp_path / "survey.py").write_text(text)
    counts, *_rest, imports = run(tmp_path, "survey.py").splitlines()
    assert re.match(r"\{'urgent': \d+, 'soon': \d+, 'default': \d+\}", counts)
    assert "('sys', " in imports


def test_guides_and_readme_are_typed(tmp_path: Path) -> None:
    for language, text in [*GUIDE, *blocks("README.md")]:
        if language == "python" and "import slither" in text:
            (tmp_path / name(text)).write_text(text)
    command = ["-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), "."]
    run(tmp_path, *command)
