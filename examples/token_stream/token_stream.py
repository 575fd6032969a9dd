"""What the worker of token_stream runs: the model itself is in ``chain``."""

from __future__ import annotations

from collections.abc import Iterator

import chain

chain.chain()


# coordination: slither
def generate(text: int, count: int) -> Iterator[str]:
    """Write a text, token by token."""
    return chain.chain().tokens(text, count)


# end of coordination


def text(number: int, count: int) -> list[str]:
    """The first tokens of a text, all at once."""
    return chain.text(number, count)


def made(text: int) -> int:
    """How many tokens of a text were made."""
    return chain.made[text]
