"""The example that is a Python program: it does what text_analysis does."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.usefixtures("escript")
def test_python_first_gives_the_result_of_text_analysis(monkeypatch: pytest.MonkeyPatch) -> None:
    script = EXAMPLES / "python_first" / "python_first.py"
    command = [sys.executable, str(script), "--documents", "400"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "FAILED" in done.stdout) == (0, False), done.stdout + done.stderr

    monkeypatch.syspath_prepend(EXAMPLES / "text_analysis")
    documents = import_module("documents")
    expected = Counter(
        documents.classify(documents.analyze(documents.prepare(text))[0])
        for text in documents.load(400)
    )
    printed = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()[:3]}
    # What no route took is neutral.
    assert printed == {"default": expected.pop("neutral"), **expected}


def test_the_rules_of_the_examples_work_is_what_their_docstrings_say() -> None:
    modules = ["text_analysis/documents.py", "batch_stats/welford.py", "data_etl/characters.py"]
    command = [sys.executable, "-m", "pytest", "-q", "--doctest-modules", "-pno:cacheprovider"]
    done = subprocess.run(
        [*command, *(str(EXAMPLES / module) for module in modules)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
