"""``slither check``."""

from __future__ import annotations

import argparse

from slither import _check


def command(options: argparse.Namespace) -> int:
    """Validate and draw; return the exit status."""
    return _check.check(options.pipe, mermaid=options.mermaid)
