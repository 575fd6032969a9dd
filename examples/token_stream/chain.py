"""A small language model, and the texts that it writes: the same for Slither and the baselines.

It is a chain of words, made of the documentation of some modules of the standard library. As in a
large one, each token is drawn from the weights of all words that it knows, which takes its time.
"""

from __future__ import annotations

import importlib
import inspect
import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

_MODULES = ("argparse", "collections", "logging", "subprocess", "threading", "unittest")
_MOST_WORDS = 1_000

made: Counter[int] = Counter()
"""How many tokens of each text this process has made."""


class Chain:
    """Which word follows which, and how often."""

    def __init__(self) -> None:
        """Read the documentation."""
        words = _words()
        self._known = [word for word, _count in Counter(words).most_common(_MOST_WORDS)]
        self._follow: dict[str, Counter[str]] = {}
        for word, after in pairwise(words):
            self._follow.setdefault(word, Counter())[after] += 1

    def tokens(self, text: int, count: int) -> Iterator[str]:
        """Write a text, token by token; its number decides on all of it."""
        drawn = random.Random(text)
        word = self._known[text % len(self._known)]
        for _ in range(count):
            made[text] += 1
            yield word
            after = self._follow.get(word, Counter())
            weights = [1e-6 + after[known] for known in self._known]
            word = drawn.choices(self._known, weights)[0]


def _words() -> list[str]:
    words: list[str] = []
    for name in _MODULES:
        module = importlib.import_module(name)
        for part in [module, *vars(module).values()]:
            words += (inspect.getdoc(part) or "").split()
    return words


_chain: list[Chain] = []


def chain() -> Chain:
    """Return the process's model, made when it is first wanted."""
    if not _chain:
        _chain.append(Chain())
    return _chain[0]


def text(number: int, count: int) -> list[str]:
    """Return the first tokens of a text, as one process makes them."""
    return list(chain().tokens(number, count))
