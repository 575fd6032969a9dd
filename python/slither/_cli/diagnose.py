"""``slither diagnose``: whether something is wrong in a program that runs, in one sentence.

The main thread of the command asks, prints and ends.
"""

from __future__ import annotations

import argparse
import json
import sys

from slither._cli.attach import NotAttached, attach
from slither._cli.main import MISSING


def command(options: argparse.Namespace) -> int:
    """Print the verdict with its evidence; return the exit status that it asks for."""
    try:
        with attach(options.pid) as beam:
            told = beam.ask("diagnosis")
    except NotAttached as error:
        sys.stderr.write(f"slither: {error}\n")
        return MISSING
    if options.json:
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        sys.stdout.write("\n".join(told["told"]) + "\n")
    return int(told["exit"])
