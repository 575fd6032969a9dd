"""text_analysis without a line of Elixir: a program that starts BEAM, and a pipe in Python.

``python python_first.py [--documents N] [--workers N]``
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "text_analysis"))

import documents
from documents import Analysis, Document, Index

import slither
from slither import Pipe, item, store
from slither.worker import batch_handler

# A dict on BEAM, which the workers and this program share.
indexes = store.table("indexes")
_batches = 0


@batch_handler
def analyze(texts: list[Document]) -> list[Analysis]:
    """Rate documents; the index of their words goes into the shared dict, under its own key."""
    global _batches
    index: Index = {}
    analyses = []
    for text in texts:
        analysis, counts = documents.analyze(text)
        documents.add(index, counts)
        analyses.append(analysis)
    _batches += 1
    indexes[f"{os.getpid()}/{_batches}"] = index
    return analyses


flow = (
    Pipe("text_analysis")
    .beam("prepare", {"name": item["name"], "text": item["text"].lower()})
    .python("analyze", analyze, batch_size=64, max_in_flight=8)
    .route("classify", positive=item["sentiment"] > 0.2, negative=item["sentiment"] < -0.2)
    .output("positive", "negative")
)


def run(count: int, workers: int) -> tuple[dict[str, list[Any]], Index, float]:
    """Run the pipe; return its outputs, the words of all documents, and seconds."""
    texts = documents.load(count)
    with slither.Beam(workers=workers) as beam:
        shared = beam.table("indexes")
        began = time.perf_counter()
        outputs = beam.run(flow, texts)
        index: Index = {}
        for some in shared.values():
            # A tuple crosses as a list.
            documents.merge(index, {word: tuple(entry) for word, entry in some.items()})
        seconds = time.perf_counter() - began
    return dict(outputs), index, seconds


def main() -> int:
    """Run it, and print what came out; 2 when something does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    outputs, index, seconds = run(options.documents, options.workers)
    for name, analyses in sorted(outputs.items()):
        print(f"{name:<10} {len(analyses):>5} documents, such as {analyses[0]['name']}")
    print(f"{options.documents} documents in {seconds:.2f} s, {options.workers} workers")

    texts = documents.load(options.documents)
    checks = {
        "every document has one analysis": sorted(
            analysis["name"] for analyses in outputs.values() for analysis in analyses
        )
        == sorted(text["name"] for text in texts),
        "the index of words equals that of a single process, word for word": index
        == documents.index_words(texts),
    }
    for text, held in checks.items():
        print(f"{'ok    ' if held else 'FAILED'}  {text}")
    return 0 if all(checks.values()) else 2


if __name__ == "__main__":
    sys.exit(main())
