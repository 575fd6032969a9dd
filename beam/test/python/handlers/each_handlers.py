"""Functions of one item and of a list, for the tests of `each:`."""

from __future__ import annotations

from slither.worker import batch_handler


def double(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


@batch_handler("each_handlers.marked_list")
def marked_list(rows: list[list[int]]) -> list[list[int]]:
    return rows
