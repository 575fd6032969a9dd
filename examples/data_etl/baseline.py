"""data_etl in plain Python, three times."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from queue import Queue
from threading import Barrier, Lock, Thread

from baselines import Run
from characters import (
    GENERATIONS,
    Row,
    Schema,
    checksums,
    load,
    ordered,
    schema,
    torn,
    validate,
    verdict,
)

CHUNK = 500
AGAIN = 20_000
"""Rows of a run that is made again."""
EVERY = "every row has one verdict, in its order"
WHOLE = "every row was held against exactly one generation, none torn"
ALL = "all three generations were in use"
AUDIT = "the audit adds up to the verdicts of all rows"

Result = tuple[list[Row], Counter[str]]


def unsafe_threaded(run: Run) -> None:
    """Threads that share the schema and the audit, as one writes them first."""

    # coordination: unsafe_threaded
    def everything(lines: list[str]) -> Result:
        rules = schema(1)
        audit: Counter[str] = Counter()
        rows: list[Row] = []
        changes = _changes(lines)

        def work(chunk: list[str]) -> list[Row]:
            found = [validate(line, rules) for line in chunk]
            for row in found:
                audit[verdict(row)] += 1
            return found

        with ThreadPoolExecutor(run.workers) as pool:
            run.started()
            for found in pool.map(work, _chunks(lines)):
                if generation := _due(changes, len(rows)):
                    rules.update(schema(generation))
                rows += found
        return rows, audit

    # end of coordination
    # Whether a change meets a row in its middle is luck: one run may be right.
    _measure(run, everything, tries=20)


def safe_python(run: Run) -> None:
    """Threads that take chunks from a queue; the schema is swapped, the audit has a lock."""

    # coordination: safe_python
    def everything(lines: list[str]) -> Result:
        rules: Schema = schema(1)
        tasks: Queue[tuple[int, list[str]] | None] = Queue(2 * run.workers)
        found: dict[int, list[Row]] = {}
        audit: Counter[str] = Counter()
        lock = Lock()
        ready = Barrier(run.workers + 1)

        def serve() -> None:
            ready.wait()
            while (task := tasks.get()) is not None:
                number, chunk = task
                # A schema is never changed once it is here.
                current = rules
                rows = [validate(line, current) for line in chunk]
                with lock:
                    found[number] = rows
                    audit.update(map(verdict, rows))

        threads = [Thread(target=serve) for _ in range(run.workers)]
        for thread in threads:
            thread.start()
        ready.wait()
        run.started()
        changes = _changes(lines)
        for number, chunk in enumerate(_chunks(lines)):
            if generation := _due(changes, CHUNK * number):
                rules = schema(generation)
            tasks.put((number, chunk))
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            thread.join()
        return [row for number in sorted(found) for row in found[number]], audit

    # end of coordination
    _measure(run, everything)


# coordination: process_pool
def _work(lines: list[str], rules: Schema) -> list[Row]:
    return [validate(line, rules) for line in lines]


# end of coordination


def process_pool(run: Run) -> None:
    """Processes that get the schema with each chunk; few chunks are out at a time."""

    # coordination: process_pool
    def everything(lines: list[str]) -> Result:
        rules: Schema = schema(1)
        rows: list[Row] = []
        out: deque[Future[list[Row]]] = deque()
        changes = _changes(lines)
        with ProcessPoolExecutor(run.workers) as pool:
            list(pool.map(abs, range(run.workers)))
            run.started()
            for number, chunk in enumerate(_chunks(lines)):
                if generation := _due(changes, CHUNK * number):
                    rules = schema(generation)
                if len(out) == 2 * run.workers:
                    rows += out.popleft().result()
                out.append(pool.submit(_work, chunk, rules))
            for future in out:
                rows += future.result()
        return rows, Counter(map(verdict, rows))

    # end of coordination
    _measure(run, everything)


def _changes(lines: list[str]) -> dict[int, int]:
    """After which row which generation comes into force."""
    last = len(GENERATIONS)
    return {len(lines) * (number - 1) // last: number for number in GENERATIONS[1:]}


def _due(changes: dict[int, int], start: int) -> int | None:
    """Which generation comes into force in the chunk that starts there."""
    return next((new for row, new in changes.items() if row <= start < row + CHUNK), None)


# coordination: unsafe_threaded, safe_python, process_pool
def _chunks(lines: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(lines), CHUNK):
        yield lines[start : start + CHUNK]


# end of coordination


def _measure(run: Run, everything: Callable[[list[str]], Result], tries: int = 1) -> None:
    run.promise(EVERY, WHOLE, ALL, AUDIT)
    lines = load(run.size)
    with run.measured():
        rows, audit = everything(lines)

    expected = checksums(lines)
    number = 1
    while not (wrong := torn(rows, expected)) and number < tries:
        lines, expected = lines[:AGAIN], expected[:AGAIN]
        rows, audit = everything(lines)
        number += 1
    run.check(EVERY, ordered(rows, lines))
    run.check(WHOLE, not wrong)
    run.check(ALL, {n for row in rows for n in row["generations"]} == set(GENERATIONS))
    run.check(AUDIT, audit == Counter(map(verdict, rows)) and audit.total() == len(lines))
    if wrong:
        luck = f", after {number - 1} that were right by luck" if number > 1 else ""
        run.note = f"a run tore {wrong} of its rows between two schemas{luck}"
