"""The documents, and what is computed of each: the same for Slither and for the baselines."""

from __future__ import annotations

import ast
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import TypedDict


class Document(TypedDict):
    name: str
    text: str


class Analysis(TypedDict):
    name: str
    words: int
    sentiment: float
    ease: float
    phrases: list[str]


Entry = tuple[int, int]
"""How often a word occurs, and in how many documents."""
Index = dict[str, Entry]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


STOP_WORDS = _set(
    """a about after all also an and any are as at be been but by can do does each for from has
    have if in into is it its may more must no not of on one only or other out s same see so some
    such t than that the their them then there these they this to up use used using was we what
    when where which will with you your"""
)
POSITIVE = _set(
    """accurate allow allowed allows available best better clean complete convenient correct
    correctly easily easy efficient enable enabled ensure exact fast faster flexible good great
    help helpful helps improve nice ok optimized perfect portable powerful preferred proper
    properly ready recommended reliable right robust safe safely secure simple simply stable
    success successful successfully support supported supports useful valid well"""
)
NEGATIVE = _set(
    """abort bad broken bug cannot corrupt crash dangerous deadlock deprecated difficult error
    errors exception exceptions fail failed failing fails failure fatal forbidden harmful hard
    illegal impossible improper incompatible incorrect incorrectly insecure invalid leak lose
    lost malformed missing never obsolete problem problems raise raised raises refuse reject
    rejected slow slower unable undefined unexpected unsafe unsupported unusable vulnerable
    warning warnings wrong"""
)
NEGATIONS = frozenset(["no", "not", "never", "without", "don't", "doesn't", "isn't", "can't"])

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_SENTENCE = re.compile(r"[.!?:](?:\s|$)|\n\s*\n")
_SYLLABLE = re.compile(r"[aeiouy]+")
_VOWEL = re.compile(r"[aeiouy]")
_SUFFIXES = tuple(
    (re.compile(pattern + "$"), ending)
    for pattern, ending in (
        ("'s", ""),
        ("sses", "ss"),
        ("ies", "y"),
        ("(?<=[^s])s", ""),
        ("(?:ational|ation)", "ate"),
        ("iveness|ively", "ive"),
        ("fulness|fully", "ful"),
        ("ousness|ously", "ous"),
        ("(?<=[^aeiouy])i?ly", ""),
        ("(?:ated|ating)", "ate"),
        ("(?<=[a-z]{3})(?:ed|ing)", ""),
        ("(?<=[a-z]{3})(?:ment|ness|able|ible)", ""),
    )
)


def load(count: int) -> list[Document]:
    """Return the first docstrings of Python's library, and after the last the first again."""
    found = list(islice(_docstrings(), count))
    return list(islice(cycle(found), count))


def prepare(document: Document) -> Document:
    """Make a document ready for :func:`analyze`."""
    return {"name": document["name"], "text": document["text"].lower()}


def analyze(document: Document) -> tuple[Analysis, dict[str, int]]:
    """Rate a document that is prepared, and count its words."""
    text = document["text"]
    words = _WORD.findall(text)
    telling = [word for word in words if word not in STOP_WORDS]
    counts = Counter(stem(word) for word in telling)
    sentences = len(_SENTENCE.findall(text)) + 1
    syllables = sum(max(1, len(_SYLLABLE.findall(word))) for word in words)
    total = max(1, len(words))
    analysis: Analysis = {
        "name": document["name"],
        "words": len(telling),
        "sentiment": _sentiment(words),
        "ease": round(206.835 - 1.015 * total / sentences - 84.6 * syllables / total, 2),
        "phrases": phrases(words),
    }
    return analysis, dict(counts)


def stem(word: str) -> str:
    """Return a word without its endings, as far as rules go.

    >>> stem("connections"), stem("queries"), stem("useful")
    ('connection', 'query', 'useful')
    """
    for suffix, ending in _SUFFIXES:
        shorter, found = suffix.subn(ending, word)
        if found and _VOWEL.search(shorter):
            word = shorter
    return word


def phrases(words: list[str], most: int = 3) -> list[str]:
    """Return the phrases between stop words whose words keep the most company."""
    candidates: list[tuple[str, ...]] = []
    current: list[str] = []
    for word in [*words, "the"]:
        if word not in STOP_WORDS:
            current.append(word)
        elif current:
            candidates.append(tuple(current))
            current = []
    frequency: Counter[str] = Counter()
    degree: Counter[str] = Counter()
    for candidate in candidates:
        for word in candidate:
            frequency[word] += 1
            degree[word] += len(candidate)
    scores = {
        candidate: sum(degree[word] / frequency[word] for word in candidate)
        for candidate in candidates
        if len(candidate) < 5
    }
    best = sorted(scores, key=lambda candidate: (-scores[candidate], candidate))
    return [" ".join(candidate) for candidate in best[:most]]


def classify(analysis: Analysis) -> str:
    """Name the class of a document."""
    if analysis["sentiment"] > 0.2:
        return "positive"
    return "negative" if analysis["sentiment"] < -0.2 else "neutral"


def plus(entry: Entry | None, more: Entry) -> Entry:
    """Add to an entry.

    >>> plus((5, 2), (3, 1)), plus(None, (3, 1))
    ((8, 3), (3, 1))
    """
    return more if entry is None else (entry[0] + more[0], entry[1] + more[1])


def add(index: Index, counts: dict[str, int]) -> None:
    """Add the words of a document to an index."""
    for word, count in counts.items():
        index[word] = plus(index.get(word), (count, 1))


def merge(index: Index, more: Index) -> None:
    """Add an index to another one."""
    for word, entry in more.items():
        index[word] = plus(index.get(word), entry)


def index_words(documents: Iterable[Document]) -> Index:
    """Index the words of all documents in one process, one after the other."""
    index: Index = {}
    for document in documents:
        add(index, analyze(prepare(document))[1])
    return index


def _sentiment(words: list[str]) -> float:
    good = bad = 0
    for position, word in enumerate(words):
        if word in POSITIVE or word in NEGATIVE:
            negated = any(
                before in NEGATIONS for before in words[max(0, position - 3) : position]
            )
            if (word in POSITIVE) != negated:
                good += 1
            else:
                bad += 1
    return (good - bad) / (good + bad) if good + bad else 0.0


def _docstrings() -> Iterator[Document]:
    root = Path(os.__file__).parent
    skipped = {"test", "tests", "site-packages", "dist-packages", "idlelib"}
    for path in sorted(root.rglob("*.py")):
        if not skipped & set(path.parts):
            yield from _docstrings_of(path, root)


def _docstrings_of(path: Path, root: Path) -> Iterator[Document]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text and len(text) > 20:
                name = f"{module}:{getattr(node, 'name', '')}".rstrip(":")
                yield {"name": name, "text": text}
