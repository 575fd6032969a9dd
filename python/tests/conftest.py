from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from peer import Worker

# Workers and scripts are processes of their own: they must find the package too.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])

# Only workers import it: a process has one pair of functions for sessions that move.
collect_ignore = ["session_handlers.py"]


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started.ready()
