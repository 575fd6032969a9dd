"""What a worker in an environment of its own sees."""

import sys


def versions(items: list[None]) -> list[list[str]]:
    import slither_test_package

    return [[slither_test_package.VERSION, sys.prefix] for _ in items]
