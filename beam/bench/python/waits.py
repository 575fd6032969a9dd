"""A handler whose cost is a wait."""

import time


def wait(costs: list[int]) -> list[int]:
    """Take as many ms as the first item says."""
    time.sleep(costs[0] / 1000)
    return costs
