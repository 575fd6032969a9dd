"""``slither check``."""

from __future__ import annotations

import argparse

from slither._cli import checking


def command(options: argparse.Namespace) -> int:
    """Validate and draw; return the exit status."""
    return checking.check(options.pipe, mermaid=options.mermaid)
