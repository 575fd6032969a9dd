"""What the workers of text_analysis run: the work itself is in ``documents``."""

from __future__ import annotations

import os

import documents
from documents import Analysis, Document, Index

# Each worker is a process of its own: nobody else touches its index, so nothing needs a lock.
_index: Index = {}


def load(counts: list[int]) -> list[list[Document]]:
    """The documents."""
    return [documents.load(count) for count in counts]


def index_words(lists: list[list[Document]]) -> list[Index]:
    """The words of all documents, indexed in one process."""
    return [documents.index_words(texts) for texts in lists]


# coordination: slither
def analyze(texts: list[Document]) -> list[Analysis]:
    """Rate documents, and add their words to the index of this worker."""
    analyses = []
    for text in texts:
        analysis, counts = documents.analyze(text)
        documents.add(_index, counts)
        analyses.append(analysis)
    return analyses


def index(asked: list[None]) -> list[dict[str, object]]:
    """Hand over the index of this worker."""
    return [{"pid": os.getpid(), "index": _index} for _ in asked]


# end of coordination
