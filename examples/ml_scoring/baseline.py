"""ml_scoring in plain Python, three times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed

from baselines import Run
from models import NAMES, Data, Features, Model, Score, expected, fit, load, pick, score

CHUNK = 50
EVERY = "every record has one prediction, in its order"
OWN = "each model scored its own session and no other, by its fingerprint"
SAME = "the predictions are those of plain scikit-learn, bit for bit"

Scores = dict[str, list[Score]]


def unsafe_threaded(run: Run) -> None:
    """Threads that share what the module keeps, as one writes it for one model first."""

    # coordination: unsafe_threaded
    def everything(sets: list[Data]) -> Scores:
        state: dict[str, Model] = {}

        def train(data: Data) -> None:
            state["model"] = fit(*_task(data))

        def serve(request: tuple[Data, list[int]]) -> list[Score]:
            data, records = request
            return score(state["model"], records, pick(data, records))

        with ThreadPoolExecutor(run.workers) as pool:
            run.started()
            list(pool.map(train, sets))
            requests = [(data, chunk) for data in sets for chunk in _chunks(data)]
            scores: Scores = {data["name"]: [] for data in sets}
            for (data, _), found in zip(requests, pool.map(serve, requests), strict=True):
                scores[data["name"]] += found
        return scores

    # end of coordination
    _measure(run, everything)


def safe_python(run: Run) -> None:
    """Threads that are handed the model they are to use; nobody changes it."""

    # coordination: safe_python
    def everything(sets: list[Data]) -> Scores:
        out: dict[str, list[Future[list[Score]]]] = {}
        with ThreadPoolExecutor(run.workers) as pool:
            run.started()
            trained = {pool.submit(fit, *_task(data)): data for data in sets}
            for future in as_completed(trained):
                data = trained[future]
                out[data["name"]] = [
                    pool.submit(score, future.result(), chunk, pick(data, chunk))
                    for chunk in _chunks(data)
                ]
        return _collect(out)

    # end of coordination
    _measure(run, everything)


# coordination: process_pool
_models: dict[str, Model] = {}


def _train(name: str, features: Features, labels: list[int]) -> None:
    _models[name] = fit(features, labels)


def _score(name: str, records: list[int], features: Features) -> list[Score]:
    return score(_models[name], records, features)


# end of coordination


def process_pool(run: Run) -> None:
    """Executors of one process each: a model stays where it was trained."""

    # coordination: process_pool
    def everything(sets: list[Data]) -> Scores:
        out: dict[str, list[Future[list[Score]]]] = {}
        pools = [ProcessPoolExecutor(1) for _ in range(run.workers)]
        try:
            for up in [pool.submit(abs, 0) for pool in pools]:
                up.result()
            run.started()
            trained: list[Future[None]] = []
            for number, data in enumerate(sets):
                name = data["name"]
                pool = pools[number % run.workers]
                # One process serves in the order in which it was asked.
                trained.append(pool.submit(_train, name, *_task(data)))
                out[name] = [
                    pool.submit(_score, name, chunk, pick(data, chunk)) for chunk in _chunks(data)
                ]
            for future in trained:
                future.result()
            return _collect(out)
        finally:
            for pool in pools:
                pool.shutdown()

    # end of coordination
    _measure(run, everything)


# coordination: unsafe_threaded, safe_python, process_pool
def _chunks(data: Data) -> Iterator[list[int]]:
    for start in range(0, len(data["requests"]), CHUNK):
        yield data["requests"][start : start + CHUNK]


# end of coordination


# coordination: safe_python, process_pool
def _collect(out: dict[str, list[Future[list[Score]]]]) -> Scores:
    return {
        name: [each for future in futures for each in future.result()]
        for name, futures in out.items()
    }


# end of coordination


def _task(data: Data) -> tuple[Features, list[int]]:
    labels = [data["labels"][record] for record in data["training"]]
    return pick(data, data["training"]), labels


def _measure(run: Run, everything: Callable[[list[Data]], Scores]) -> None:
    run.promise(EVERY, OWN, SAME)
    sets = [load(name, run.size) for name in NAMES]
    with run.measured():
        scores = everything(sets)

    right = {data["name"]: expected(data)["scores"] for data in sets}
    run.check(EVERY, all(_records(scores[data["name"]]) == data["requests"] for data in sets))
    run.check(OWN, all(_marks(scores[name]) == _marks(right[name]) for name in right))
    run.check(SAME, scores == right)
    wrong = {
        name: sum(one != other for one, other in zip(scores[name], right[name], strict=True))
        for name in right
    }
    if any(wrong.values()):
        run.note = "; ".join(
            f"{count} of {run.size} records of {name} were scored by the other model"
            for name, count in wrong.items()
            if count
        )


def _records(scores: list[Score]) -> list[int]:
    return [each["record"] for each in scores]


def _marks(scores: list[Score]) -> set[str]:
    return {each["fingerprint"] for each in scores}
