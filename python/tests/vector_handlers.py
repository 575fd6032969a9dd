"""Handlers of the pipes in protocol/vectors/pipes.json; both engines run them."""

from __future__ import annotations

from slither._types import Payload
from slither.worker import Failure, batch_handler, context, item_handler


def double(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


def halves(numbers: list[int]) -> list[Payload]:
    """Fails the odd ones alone."""
    return [number // 2 if number % 2 == 0 else Failure("odd") for number in numbers]


def sizes(items: list[Payload]) -> list[int]:
    """Tells each item how many it came with."""
    return [len(items)] * len(items)


def no_sevens(numbers: list[int]) -> list[int]:
    """Fails the whole batch of a 7."""
    if 7 in numbers:
        raise ValueError("a 7")
    return numbers


def second_time(items: list[Payload]) -> list[Payload]:
    if context().attempt == 1:
        raise KeyError("first")
    return items


def attempts(items: list[Payload]) -> list[Payload]:
    """Fails the odd ones until their third attempt, and says which attempt it was."""
    now = context().attempt
    return [Failure("odd") if n % 2 and now < 3 else [n, now] for n in items]


def one_less(items: list[Payload]) -> list[Payload]:
    return items[1:]


def a_range(items: list[Payload]) -> list[Payload]:
    return [range(item) if item == 2 else item for item in items]


def totals(groups: list[list[int]]) -> list[int]:
    return [sum(group) for group in groups]


@item_handler("vector_handlers.invert")
def invert(number: int) -> float:
    return 1 / number


@batch_handler("vector_handlers.negate")
def negate(numbers: list[int]) -> list[int]:
    return [-number for number in numbers]


def pieces(texts: list[str]) -> list[object]:
    """Give many values for each text: its words, until one that is bad."""
    return [_words(text) for text in texts]


def _words(text: str) -> object:
    for word in text.split():
        if word == "bad":
            raise ValueError("bad")
        yield word
