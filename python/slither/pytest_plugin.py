"""pytest's fixture ``slither_beam``, which an installation of Slither brings along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from slither._driver.beam import Beam


@pytest.fixture(scope="session")
def slither_beam() -> Iterator[Beam]:
    """Give a Beam of two workers, which starts with the first test that asks for it.

    Tables of :meth:`slither.Beam.store` live as long as it does: give each test's a name of its
    own.
    """
    from slither._driver.beam import Beam

    with Beam(workers=2) as beam:
        yield beam
