from __future__ import annotations

from collections.abc import Iterator

import pytest
from peer import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started.ready()
