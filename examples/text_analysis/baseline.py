"""text_analysis in plain Python, three times."""

from __future__ import annotations

from collections import Counter
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
    analyze,
    classify,
    count_words,
    load,
    prepare,
)

CHUNK = 64
EVERY = "every document has one analysis, in its order"
INDEX = "the word index equals a single-process count, word for word"


def unsafe_threaded(run: Run) -> None:
    """Threads that share an index, as one writes them first."""

    # coordination: unsafe_threaded
    index: Index = {}

    def work(document: Document) -> Analysis:
        analysis, counts = analyze(prepare(document))
        for word, count in counts.items():
            index[word] = index.get(word, 0) + count
        return analysis

    def everything(documents: list[Document]) -> list[Analysis]:
        with ThreadPoolExecutor(run.workers) as pool:
            run.started()
            return list(pool.map(work, documents))

    # end of coordination
    _measure(run, everything, lambda: index)


def safe_python(run: Run) -> None:
    """Threads that take chunks from a queue, count for themselves, and merge under a lock."""

    # coordination: safe_python
    index: Counter[str] = Counter()
    lock = Lock()

    def serve(
        tasks: SimpleQueue[tuple[int, list[Document]] | None],
        results: dict[int, list[Analysis]],
        ready: Barrier,
    ) -> None:
        ready.wait()
        mine: Counter[str] = Counter()
        while (task := tasks.get()) is not None:
            number, documents = task
            analyses = []
            for document in documents:
                analysis, counts = analyze(prepare(document))
                mine.update(counts)
                analyses.append(analysis)
            with lock:
                results[number] = analyses
        with lock:
            index.update(mine)

    def everything(documents: list[Document]) -> list[Analysis]:
        tasks: SimpleQueue[tuple[int, list[Document]] | None] = SimpleQueue()
        results: dict[int, list[Analysis]] = {}
        ready = Barrier(run.workers + 1)
        threads = [Thread(target=serve, args=(tasks, results, ready)) for _ in range(run.workers)]
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
        return [analysis for number in sorted(results) for analysis in results[number]]

    # end of coordination
    _measure(run, everything, lambda: index)


# coordination: process_pool
def _work(documents: list[Document]) -> tuple[list[Analysis], Index]:
    analyses: list[Analysis] = []
    index: Counter[str] = Counter()
    for document in documents:
        analysis, counts = analyze(prepare(document))
        index.update(counts)
        analyses.append(analysis)
    return analyses, index


# end of coordination


def process_pool(run: Run) -> None:
    """Processes that share nothing; the indexes of chunks are merged here."""

    # coordination: process_pool
    index: Counter[str] = Counter()

    def everything(documents: list[Document]) -> list[Analysis]:
        analyses: list[Analysis] = []
        with ProcessPoolExecutor(run.workers) as pool:
            list(pool.map(abs, range(run.workers)))
            run.started()
            for some, counts in pool.map(_work, _chunks(documents)):
                analyses += some
                index.update(counts)
        return analyses

    # end of coordination
    _measure(run, everything, lambda: index)


# coordination: safe_python, process_pool
def _chunks(documents: Iterable[Document]) -> Iterable[list[Document]]:
    rest = iter(documents)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


# end of coordination


def _measure(
    run: Run,
    everything: Callable[[list[Document]], list[Analysis]],
    index: Callable[[], Index],
) -> None:
    run.promise(EVERY, INDEX)
    documents = load(run.size)
    outputs: dict[str, list[Analysis]] = {}
    with run.measured():
        analyses = everything(documents)
        for analysis in analyses:
            outputs.setdefault(classify(analysis), []).append(analysis)
    names = [document["name"] for document in documents]
    run.check(EVERY, [analysis["name"] for analysis in analyses] == names)
    expected = count_words(documents)
    lost = sum(expected.values()) - sum(index().values())
    run.check(INDEX, dict(index()) == expected)
    if dict(index()) != expected:
        run.note = f"{lost} of {sum(expected.values())} counted words are lost"
