"""The Python half of text_analysis: finds documents, and analyzes them."""

import ast
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from slither import views
from slither.worker import session

WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")

POSITIVE = frozenset(
    re.findall(
        r"\w+",
        """accurate allow allowed allows available best better clean complete convenient correct
    correctly easily easy efficient enable enabled ensure exact fast faster flexible good great
    help helpful helps improve nice ok optimized perfect portable powerful preferred proper
    properly ready recommended reliable right robust safe safely secure simple simply stable
    success successful successfully support supported supports useful valid well""",
    )
)
NEGATIVE = frozenset(
    re.findall(
        r"\w+",
        """abort bad broken bug cannot corrupt crash dangerous deadlock deprecated difficult error
    errors exception exceptions fail failed failing fails failure fatal forbidden harmful hard
    illegal impossible improper incompatible incorrect incorrectly insecure invalid leak lose
    lost malformed missing never obsolete problem problems raise raised raises refuse reject
    rejected slow slower unable undefined unexpected unsafe unsupported unusable vulnerable
    warning warnings wrong""",
    )
)


def source_files(_: list[None]) -> list[list[str]]:
    """The source files of the standard library, its tests left out, as one list."""
    root = Path(os.__file__).parent
    files = sorted(
        path
        for path in root.rglob("*.py")
        if not {"test", "tests", "site-packages", "dist-packages", "idlelib"} & set(path.parts)
    )
    return [[str(path) for path in files]]


def docstrings(files: list[str]) -> list[list[dict[str, str]]]:
    """The docstrings of each file: of the module, its classes and its functions."""
    return [_docstrings_of(file) for file in files]


def analyze(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Words, sentiment and the most frequent words of each document.

    What a worker has done so far is state of its own: nobody else touches it, so nothing
    needs a lock.
    """
    state = session()
    if "stop_words" not in state:
        state["stop_words"] = frozenset(views.stop_words(language="en")["words"])
        state["documents"] = state["words"] = 0
    return [_analyze_one(document, state) for document in documents]


def _analyze_one(document: dict[str, Any], state: Any) -> dict[str, Any]:
    words = [word for word in WORD.findall(document["text"]) if word not in state["stop_words"]]
    counts = Counter(words)
    good = sum(count for word, count in counts.items() if word in POSITIVE)
    bad = sum(count for word, count in counts.items() if word in NEGATIVE)
    state["documents"] += 1
    state["words"] += len(words)
    return {
        "name": document["name"],
        "words": len(words),
        "sentiment": (good - bad) / (good + bad) if good + bad else 0.0,
        "top": [word for word, _ in counts.most_common(3)],
        "worker": {
            "pid": os.getpid(),
            "documents": state["documents"],
            "words": state["words"],
        },
    }


def _docstrings_of(file: str) -> list[dict[str, str]]:
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return []
    root = Path(os.__file__).parent
    module = ".".join(Path(file).relative_to(root).with_suffix("").parts)
    return [
        {"name": f"{module}:{getattr(node, 'name', '')}".rstrip(":"), "text": text}
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and (text := ast.get_docstring(node))
        and len(text) > 20
    ]
