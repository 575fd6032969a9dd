"""The example of a search in which one candidate hangs and another eats memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import ROOT

SCRIPT = ROOT / "examples" / "grid_search" / "grid_search.py"


def test_the_others_finish_and_each_failure_is_explained(escript: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--backend", "slither", "--bad", "endless", "greedy"]
    done = subprocess.run(
        [*command, "--memory", "600"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 steady candidates have their scores" in done.stdout
    assert "2 have none; 2 workers were killed for their memory" in done.stdout
    assert "estimators.py:" in done.stdout
    assert "in _descend" in done.stdout
    assert "CallTimeout: the call ran for more than 5 s" in done.stdout
    assert "WorkerDied: Python worker" in done.stdout
    assert "killed by signal 9" in done.stdout
