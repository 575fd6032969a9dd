"""What the workers of text_analysis run: the work itself is in ``documents``."""

from __future__ import annotations

import os
from collections import Counter

import documents
from documents import Analysis, Document, Index

# Each worker is a process of its own: nobody else touches its index, so nothing needs a lock.
_index: Counter[str] = Counter()


def load(counts: list[int]) -> list[list[Document]]:
    """The documents."""
    return [documents.load(count) for count in counts]


def count_words(lists: list[list[Document]]) -> list[Index]:
    """The words of all documents, counted in one process."""
    return [documents.count_words(texts) for texts in lists]


# coordination: slither
def analyze(texts: list[Document]) -> list[Analysis]:
    """Rate documents, and add their words to the index of this worker."""
    analyses = []
    for text in texts:
        analysis, counts = documents.analyze(text)
        _index.update(counts)
        analyses.append(analysis)
    return analyses


def index(asked: list[None]) -> list[dict[str, object]]:
    """Hand over the index of this worker."""
    return [{"pid": os.getpid(), "index": dict(_index)} for _ in asked]


# end of coordination
