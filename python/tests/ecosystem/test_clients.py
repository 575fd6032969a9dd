"""Libraries and patterns that take an executor: each runs on ours as on the standard one."""

from __future__ import annotations

import asyncio
import compileall
import concurrent.futures
import functools
import io
import operator
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import rich.console
import rich.progress
import toolz
import tornado.ioloop
import tqdm
import tqdm.asyncio
import tqdm.contrib.concurrent
import work
from scipy.integrate import quad_vec
from scipy.optimize import brute, differential_evolution

import slither

PATIENCE = 60


@pytest.fixture(scope="module")
def executor(escript: Path) -> Iterator[slither.Executor]:
    with slither.Executor(max_workers=2) as started:
        yield started


def test_asyncio_runs_a_partial(executor: slither.Executor) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        call = functools.partial(work.power, exponent=3)
        return [
            await loop.run_in_executor(executor, functools.partial(work.power, 3, plus=1)),
            await loop.run_in_executor(executor, call, 2),
            await loop.run_in_executor(executor, functools.partial(call, plus=5), 2),
        ]

    assert asyncio.run(main()) == [10, 8, 13]


def test_asyncio_gathers_and_keeps_what_failed(executor: slither.Executor) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, work.power, n) for n in range(50)]
        bad = loop.run_in_executor(executor, work.fail, 3)
        return await asyncio.gather(*calls, bad, return_exceptions=True)

    *good, error = asyncio.run(main())
    assert good == [n * n for n in range(50)]
    assert isinstance(error, LookupError)


def test_asyncio_gives_up_a_call_that_takes_too_long(executor: slither.Executor) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(executor, work.slow, 0.5), 0.05)
        return await loop.run_in_executor(executor, work.power, 7)

    assert asyncio.run(main()) == 49


def test_asyncio_has_each_as_it_completes(escript: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def main(executor: slither.Executor) -> list[str]:
        futures = [executor.submit(work.wait_for, str(gate)), executor.submit(str, "first")]
        found = []
        for one in asyncio.as_completed([asyncio.wrap_future(future) for future in futures]):
            found.append(await one)
            gate.touch()
        return found

    with slither.Executor(max_workers=2) as executor:
        assert asyncio.run(main(executor)) == ["first", str(gate)]


def test_asyncio_waits_in_a_thread(executor: slither.Executor) -> None:
    async def main() -> list[int]:
        return await asyncio.to_thread(list, executor.map(work.power, range(5)))

    assert asyncio.run(main()) == [0, 1, 4, 9, 16]


def test_tornado_runs_a_call(executor: slither.Executor) -> None:
    async def main() -> int:
        loop = tornado.ioloop.IOLoop.current()
        return await loop.run_in_executor(executor, functools.partial(work.power, 5))

    assert asyncio.run(main()) == 25


def test_futures_of_two_executors_are_waited_for_together(executor: slither.Executor) -> None:
    with ThreadPoolExecutor(1) as threads:
        futures = {
            executor.submit(work.power, 4): "pool",
            threads.submit(work.power, 5): "thread",
        }
        found = {
            futures[future]: future.result()
            for future in concurrent.futures.as_completed(futures, PATIENCE)
        }
        assert found == {"pool": 16, "thread": 25}
        some: list[concurrent.futures.Future[Any]] = [threads.submit(work.slow, 0.3)]
        some.append(executor.submit(work.power, 6))
        done, _ = concurrent.futures.wait(some, PATIENCE, FIRST_COMPLETED)
        assert [future.result() for future in done] == [36]
        some[1] = executor.submit(work.fail, 1)
        done, _ = concurrent.futures.wait(some, PATIENCE, FIRST_EXCEPTION)
        assert some[1] in done


def test_a_map_takes_a_lambda_and_a_closure(executor: slither.Executor) -> None:
    base = 10

    def more(item: int) -> int:
        return item + base

    assert list(executor.map(lambda item: item + 1, range(4))) == [1, 2, 3, 4]
    assert list(executor.map(more, range(100), chunksize=9)) == list(range(10, 110))


def test_a_map_takes_methods_and_operators(executor: slither.Executor) -> None:
    assert list(executor.map(work.Scale(3).times, range(3))) == [0, 3, 6]
    assert list(executor.map(operator.itemgetter("a"), [{"a": 1}, {"a": 2}])) == [1, 2]
    assert list(executor.map(operator.methodcaller("split", "-"), ["a-b"])) == [["a", "b"]]
    assert list(executor.map(operator.add, [1, 2], [3, 4])) == [4, 6]


def test_toolz_curries(executor: slither.Executor) -> None:
    curried = toolz.curry(work.power, exponent=3)
    assert list(executor.map(curried, range(3))) == [0, 1, 8]
    composed = toolz.compose(str, curried)
    assert executor.submit(composed, 2).result() == "8"


def test_tqdm_maps_in_processes(
    executor: slither.Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", slither.Executor)
    out = io.StringIO()
    found = tqdm.contrib.concurrent.process_map(
        work.power, range(20), max_workers=2, file=out, tqdm_class=tqdm.tqdm
    )
    assert found == [n * n for n in range(20)]
    assert "20/20" in out.getvalue()
    assert tqdm.contrib.concurrent.process_map(
        work.pair, [1, 2], [3, 4], chunksize=2, file=out
    ) == [
        [1, 3],
        [2, 4],
    ]


def test_tqdm_maps_in_threads_that_wait_for_calls(executor: slither.Executor) -> None:
    out = io.StringIO()
    found = tqdm.contrib.concurrent.thread_map(
        lambda item: executor.submit(work.power, item).result(),
        range(20),
        max_workers=4,
        file=out,
    )
    assert found == [n * n for n in range(20)]
    assert "20/20" in out.getvalue()


def test_tqdm_shows_what_completes(executor: slither.Executor) -> None:
    out = io.StringIO()
    futures = [executor.submit(work.power, n) for n in range(10)]
    done = tqdm.tqdm(concurrent.futures.as_completed(futures), total=10, file=out)
    assert sorted(future.result() for future in done) == [n * n for n in range(10)]

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, work.power, n) for n in range(10)]
        return await tqdm.asyncio.tqdm.gather(*calls, file=out)  # type: ignore[no-any-return]

    assert asyncio.run(main()) == [n * n for n in range(10)]
    assert out.getvalue().count("10/10") >= 2


def test_rich_tracks_a_map(executor: slither.Executor) -> None:
    console = rich.console.Console(file=io.StringIO())
    results = executor.map(work.power, range(10))
    tracked = rich.progress.track(results, total=10, console=console)
    assert list(tracked) == [n * n for n in range(10)]


def test_scipy_optimizes(executor: slither.Executor) -> None:
    found = differential_evolution(
        work.rosen,
        [(0, 2), (0, 2)],
        workers=executor.map,
        updating="deferred",
        rng=numpy.random.default_rng(1),
        maxiter=100,
    )
    assert found.fun < 1e-3
    best = brute(work.rosen, [(0, 2), (0, 2)], Ns=5, workers=executor.map, finish=None)
    assert best.tolist() == [1.0, 1.0]


def test_compileall_compiles(
    escript: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        (tmp_path / f"module_{n}.py").write_text(f"n = {n}\n")
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", slither.Executor)
    assert compileall.compile_dir(tmp_path, quiet=2, workers=2)
    assert len(list((tmp_path / "__pycache__").glob("*.pyc"))) == 5


def test_scipy_integrates(executor: slither.Executor) -> None:
    powers = numpy.arange(4)
    found, _error = quad_vec(lambda x: x**powers, 0, 1, workers=executor.map)
    assert found == pytest.approx(1 / (powers + 1))


def test_pandas_has_its_groups_worked_on(executor: slither.Executor) -> None:
    frame = pandas.DataFrame({"key": ["a", "b", "a", "b"], "n": [1, 2, 3, 6]})
    parts = [part for _key, part in frame.groupby("key")]
    found = pandas.concat(executor.map(work.summary, parts)).sort_index()
    assert found["share"].tolist() == [0.25, 0.25, 0.75, 0.75]
    assert found["key"].tolist() == frame["key"].tolist()
