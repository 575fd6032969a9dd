"""text_analysis in plain Python, three times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from threading import Barrier, Lock, Thread

from baselines import Run
from documents import (
    Analysis,
    Document,
    Index,
    add,
    analyze,
    classify,
    index_words,
    load,
    merge,
    prepare,
)

CHUNK = 64
EVERY = "every document has one analysis, in its order"
INDEX = "the index of words equals that of a single process, word for word"

Result = tuple[list[Analysis], Index]
Tasks = SimpleQueue[tuple[int, list[Document]] | None]


def unsafe_threaded(run: Run) -> None:
    """Threads that share an index, as one writes them first."""

    # coordination: unsafe_threaded
    def everything(documents: list[Document]) -> Result:
        index: Index = {}

        def work(document: Document) -> Analysis:
            analysis, counts = analyze(prepare(document))
            add(index, counts)
            return analysis

        with ThreadPoolExecutor(run.workers) as pool:
            run.started()
            return list(pool.map(work, documents)), index

    # end of coordination
    # Whether threads meet at the wrong moment is luck: one run may be right.
    _measure(run, everything, tries=6)


def safe_python(run: Run) -> None:
    """Threads that take chunks from a queue, count for themselves, and merge under a lock."""

    # coordination: safe_python
    def everything(documents: list[Document]) -> Result:
        tasks: Tasks = SimpleQueue()
        results: dict[int, list[Analysis]] = {}
        index: Index = {}
        lock = Lock()
        ready = Barrier(run.workers + 1)

        def serve() -> None:
            ready.wait()
            mine: Index = {}
            while (task := tasks.get()) is not None:
                number, chunk = task
                analyses = _analyze(chunk, mine)
                with lock:
                    results[number] = analyses
            with lock:
                merge(index, mine)

        threads = [Thread(target=serve) for _ in range(run.workers)]
        for thread in threads:
            thread.start()
        ready.wait()
        run.started()
        for task in enumerate(_chunks(documents)):
            tasks.put(task)
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            thread.join()
        return [analysis for number in sorted(results) for analysis in results[number]], index

    # end of coordination
    _measure(run, everything)


# coordination: process_pool
def _work(documents: list[Document]) -> Result:
    index: Index = {}
    return _analyze(documents, index), index


# end of coordination


def process_pool(run: Run) -> None:
    """Processes that share nothing; the indexes of chunks are merged here."""

    # coordination: process_pool
    def everything(documents: list[Document]) -> Result:
        analyses: list[Analysis] = []
        index: Index = {}
        with ProcessPoolExecutor(run.workers) as pool:
            list(pool.map(abs, range(run.workers)))
            run.started()
            for some, counts in pool.map(_work, _chunks(documents)):
                analyses += some
                merge(index, counts)
        return analyses, index

    # end of coordination
    _measure(run, everything)


# coordination: safe_python, process_pool
def _chunks(documents: Iterable[Document]) -> Iterable[list[Document]]:
    rest = iter(documents)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _analyze(documents: list[Document], index: Index) -> list[Analysis]:
    analyses = []
    for document in documents:
        analysis, counts = analyze(prepare(document))
        add(index, counts)
        analyses.append(analysis)
    return analyses


# end of coordination


def _measure(run: Run, everything: Callable[[list[Document]], Result], tries: int = 1) -> None:
    run.promise(EVERY, INDEX)
    documents = load(run.size)
    outputs: dict[str, list[Analysis]] = {}
    with run.measured():
        analyses, index = everything(documents)
        for analysis in analyses:
            outputs.setdefault(classify(analysis), []).append(analysis)
    names = [document["name"] for document in documents]
    run.check(EVERY, [analysis["name"] for analysis in analyses] == names)

    expected = index_words(documents)
    number = 1
    while index == expected and number < tries:
        index = everything(documents)[1]
        number += 1
    run.check(INDEX, index == expected)
    if index != expected:
        lost = _occurrences(expected) - _occurrences(index)
        luck = f", after {number - 1} that were right by luck" if number > 1 else ""
        run.note = f"a run lost {lost} occurrences of words{luck}"


def _occurrences(index: Index) -> int:
    return sum(count for count, _ in index.values())
