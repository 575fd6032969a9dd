"""token_stream in plain Python, three times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from queue import SimpleQueue
from threading import Thread

import chain
from baselines import Run

FAST, SLOW = 1, 2
CHUNK = 32
"""Tokens that are asked for at once."""
OWN = "each reader has its own text, token for token"
RESTS = "the fast reader has all of its text while the slow one rests"
WANTED = "what nobody reads is not written"

Tokens = Iterator[str]
Read = Callable[[Tokens, Tokens], None]


def unsafe_threaded(run: Run) -> None:
    """A thread that fills a queue for each reader, as one writes it first."""

    # coordination: unsafe_threaded
    def everything(read: Read) -> int:
        queues: list[SimpleQueue[str]] = [SimpleQueue(), SimpleQueue()]

        def write() -> None:
            model = chain.chain()
            both = model.tokens(FAST, run.size), model.tokens(SLOW, run.size)
            for tokens in zip(*both, strict=True):
                for queue, token in zip(queues, tokens, strict=True):
                    queue.put(token)

        thread = Thread(target=write)
        thread.start()
        run.started()
        fast, slow = (islice(iter(queue.get, None), run.size) for queue in queues)
        read(fast, slow)
        thread.join()
        return chain.made[SLOW]

    # end of coordination
    _measure(run, everything)


def safe_python(run: Run) -> None:
    """A thread that has the model, and writes as much as a reader asks for."""

    # coordination: safe_python
    def everything(read: Read) -> int:
        asked: SimpleQueue[tuple[int, SimpleQueue[list[str]]] | None] = SimpleQueue()

        def serve() -> None:
            model = chain.chain()
            texts = {text: model.tokens(text, run.size) for text in (FAST, SLOW)}
            while (ask := asked.get()) is not None:
                text, answer = ask
                answer.put(list(islice(texts[text], CHUNK)))
            for tokens in texts.values():
                tokens.close()  # type: ignore[attr-defined]

        def tokens(text: int) -> Tokens:
            answer: SimpleQueue[list[str]] = SimpleQueue()
            while True:
                asked.put((text, answer))
                if not (some := answer.get()):
                    return
                yield from some

        thread = Thread(target=serve, daemon=True)
        thread.start()
        run.started()
        read(tokens(FAST), tokens(SLOW))
        asked.put(None)
        thread.join()
        return chain.made[SLOW]

    # end of coordination
    _measure(run, everything)


def process_pool(run: Run) -> None:
    """A process that has the model, and keeps the texts between calls."""

    # coordination: process_pool
    def everything(read: Read) -> int:
        def tokens(pool: ProcessPoolExecutor, text: int) -> Tokens:
            while some := pool.submit(_more, text, run.size).result():
                yield from some

        with ProcessPoolExecutor(1) as pool:
            pool.submit(abs, 0).result()
            run.started()
            read(tokens(pool, FAST), tokens(pool, SLOW))
            return pool.submit(_close).result()

    # end of coordination
    _measure(run, everything)


# coordination: process_pool
_texts: dict[int, Tokens] = {}


def _more(text: int, size: int) -> list[str]:
    if text not in _texts:
        _texts[text] = chain.chain().tokens(text, size)
    return list(islice(_texts[text], CHUNK))


def _close() -> int:
    for tokens in _texts.values():
        tokens.close()  # type: ignore[attr-defined]
    return chain.made[SLOW]


# end of coordination


def _measure(run: Run, everything: Callable[[Read], int]) -> None:
    run.promise(OWN, RESTS, WANTED)
    expected = {FAST: chain.text(FAST, run.size), SLOW: chain.text(SLOW, run.size // 4)}
    chain.made.clear()
    found: dict[int, list[str]] = {FAST: [], SLOW: []}

    # The slow reader rests until the fast one has its text.
    def read(fast: Tokens, slow: Tokens) -> None:
        thread = Thread(target=lambda: found[FAST].extend(fast))
        thread.start()
        for token in islice(slow, run.size // 4):
            found[SLOW].append(token)
            if len(found[SLOW]) == run.size // 8:
                thread.join()

    with run.measured():
        made = everything(read)
    run.check(OWN, found == expected)
    run.check(RESTS, len(found[FAST]) == run.size)
    run.check(WANTED, made < run.size)
