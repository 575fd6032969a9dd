"""What a worker has imported."""

import sys


def imported(names: list[str]) -> list[bool]:
    return [name in sys.modules for name in names]
