"""Calls of one function from many threads and tasks, gathered into batches."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import driven
import pytest

import slither

PATIENCE = 60.0


def wait_until(fine: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    late = time.monotonic() + PATIENCE
    while not fine():
        assert time.monotonic() < late
        time.sleep(0.001)


class Gate:
    """A Beam's workers, each held by the first item of a gather until the gate opens."""

    def __init__(
        self,
        beam: slither.Beam,
        folder: Path,
        max_batch: int = 64,
        key: Callable[[list[str]], object] | None = None,
    ) -> None:
        self.path = str(folder / "gate")
        self.gather = beam.gather(driven.gated, max_batch=max_batch, max_wait=PATIENCE, key=key)
        self.held = []
        for n in range(beam.workers):
            began = str(folder / f"began-{n}")
            self.held.append(self.gather.submit([began, self.path, f"held {n}"]))
            wait_until(lambda began=began: os.path.exists(began))  # type: ignore[misc]

    def item(self, word: str) -> list[str]:
        return [self.path + "-began", self.path, word]

    def open(self) -> None:
        Path(self.path).touch()


def test_a_gather_is_called_from_any_thread_and_task(beam: slither.Beam) -> None:
    double = beam.gather(driven.double)
    assert double(4) == 8
    assert double.submit(5).result() == 10
    with ThreadPoolExecutor(50) as threads:
        assert list(threads.map(double, range(500))) == [2 * n for n in range(500)]

    async def tasks() -> list[int]:
        return await asyncio.gather(*(double.acall(n) for n in range(500)))

    assert asyncio.run(tasks()) == [2 * n for n in range(500)]
    assert repr(double) == "<slither.Gather driven.double>"


def test_items_that_come_while_all_workers_are_busy_go_together(
    beam: slither.Beam, tmp_path: Path
) -> None:
    gate = Gate(beam, tmp_path)
    futures = [gate.gather.submit(gate.item(str(n))) for n in range(10)]
    gate.open()
    assert [future.result(PATIENCE) for future in gate.held] == [["held 0"], ["held 1"]]
    assert [future.result(PATIENCE) for future in futures] == [list(map(str, range(10)))] * 10


def test_max_batch_and_key_keep_items_apart(beam: slither.Beam, tmp_path: Path) -> None:
    gate = Gate(beam, tmp_path, max_batch=2, key=lambda item: [item[-1] < "3"])
    futures = [gate.gather.submit(gate.item(str(n))) for n in range(6)]
    gate.open()
    found = {tuple(future.result(PATIENCE)) for future in futures}
    assert found == {("0", "1"), ("2",), ("3", "4"), ("5",)}


def test_an_item_that_fails_fails_its_own_caller(beam: slither.Beam) -> None:
    picky = beam.gather(driven.none_is_seven)
    futures = [picky.submit(n) for n in range(20)]
    for n, future in enumerate(futures):
        if n == 7:
            with pytest.raises(ValueError, match="seven"):
                future.result(PATIENCE)
        else:
            assert future.result(PATIENCE) == n
    with pytest.raises(ValueError, match="seven"):
        asyncio.run(picky.acall(7))


def test_an_item_that_ends_its_worker_fails_alone(escript: Path) -> None:
    with slither.Beam(workers=1) as beam:
        die = beam.gather(driven.die)
        futures = [die.submit(n) for n in range(6)]
        with pytest.raises(slither.WorkerDied):
            futures[3].result(PATIENCE)
        assert [futures[n].result(PATIENCE) for n in (0, 1, 2, 4, 5)] == [0, 1, 2, 4, 5]


def test_what_a_function_takes_is_as_for_a_map(beam: slither.Beam) -> None:
    assert beam.gather(driven.predict)({"n": 4}) == driven.predict([{"n": 4}])[0]
    assert beam.gather(driven.echoes, each=True)([1, 2]) == [1, 2]
    assert beam.gather(driven.total)(3) == 3
    with pytest.raises(TypeError, match="each=True"):
        beam.gather(driven.echoes)([1, 2])
    with pytest.raises(TypeError, match="marked"):
        beam.gather(driven.total, each=True)


def test_a_callers_time_is_its_own(beam: slither.Beam, tmp_path: Path) -> None:
    gate = Gate(beam, tmp_path)
    with pytest.raises(slither.CallTimeout, match=r"no answer within 0.01 s; raise timeout="):
        gate.gather(gate.item("late"), timeout=0.01)
    with pytest.raises(slither.CallTimeout):
        asyncio.run(gate.gather.acall(gate.item("late"), timeout=0.01))
    assert asyncio.run(_cancelled(gate))
    killed = gate.gather.submit(gate.item("killed"))
    assert killed.kill()
    wait([killed], PATIENCE)
    # It is cancelled where the writer had not sent it yet.
    assert killed.cancelled() or isinstance(killed.exception(), slither.CallKilled)
    left = gate.gather.submit(gate.item("left"))
    gate.open()
    # Nobody waited for the others any more when the batch was made.
    assert left.result(PATIENCE) == ["left"]


async def _cancelled(gate: Gate) -> bool:
    task = asyncio.ensure_future(gate.gather.acall(gate.item("cancelled")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return bool(task.cancelled())


def test_a_batch_that_nobody_waits_for_is_cancelled(escript: Path, tmp_path: Path) -> None:
    with slither.Beam(workers=1) as beam:
        gate = Gate(beam, tmp_path)
        gate.held[0].kill()
        # The gate never opens: the worker is free since the call was cancelled.
        assert beam.submit(driven.double, 4).result(PATIENCE) == 8


def test_timeout_limits_a_batch(escript: Path) -> None:
    with slither.Beam(workers=1) as beam:
        hang = beam.gather(driven.hang, timeout=0.2)
        with pytest.raises(slither.CallTimeout):
            hang(1_000.0)
        assert hang(0) == 0


def test_an_item_that_cannot_be_sent_fails_alone(beam: slither.Beam) -> None:
    echo = beam.gather(driven.echo)
    with pytest.raises(slither.EncodeError, match="item"):
        echo(range(2))
    assert isinstance(echo.submit(range(1)).exception(), slither.EncodeError)
    keyed = beam.gather(driven.echo, key=lambda item: [range(item)])
    with pytest.raises(slither.EncodeError, match="key"):
        keyed(1)
    broken = beam.gather(driven.echo, key=lambda item: item["size"])
    with pytest.raises(KeyError):
        broken({})
    assert echo({"a": 1}) == {"a": 1}


def test_a_function_whose_own_error_is_a_timeout_raises_that(beam: slither.Beam) -> None:
    times_out = beam.gather(driven.times_out)
    with pytest.raises(TimeoutError, match="of its own") as caught:
        times_out(1, timeout=PATIENCE)
    assert not isinstance(caught.value, slither.CallTimeout)
    with pytest.raises(TimeoutError, match="of its own"):
        asyncio.run(times_out.acall(1))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_batch": 0}, "max_batch is a whole number of 1 or more"),
        ({"max_wait": -1}, "max_wait is a number of seconds, 0 or more"),
        ({"max_wait": None}, "max_wait is a number of seconds, 0 or more"),
        ({"timeout": 0}, "timeout is a number of seconds above 0"),
        ({"key": "size"}, "key is a function of an item"),
        ({"each": 1}, "each is True or False"),
    ],
)
def test_options_that_it_cannot_use(
    beam: slither.Beam, options: dict[str, object], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        beam.gather(driven.double, **options)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        beam.gather(driven.double, max_bach=2)  # type: ignore[call-overload]
    with pytest.raises(slither.NotImportable):
        beam.gather(lambda item: item)
    with pytest.raises(ValueError, match="timeout"):
        beam.gather(driven.double)(1, timeout=-1)


def test_a_gather_of_a_closed_beam_says_so(escript: Path, tmp_path: Path) -> None:
    with slither.Beam(workers=1) as beam:
        gate = Gate(beam, tmp_path)
        waits = gate.gather.submit(gate.item("waits"))
        told: list[BaseException] = []

        def call() -> None:
            try:
                gate.gather(gate.item("blocks"))
            except slither.BeamError as error:
                told.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        wait_until(lambda: len(beam._calls.all.left) == 3)
    thread.join(PATIENCE)
    assert isinstance(waits.exception(PATIENCE), slither.BeamClosed)
    assert isinstance(told[0], slither.BeamClosed)
    with pytest.raises(slither.BeamClosed):
        gate.gather(gate.item("late"))


def test_a_gather_that_nobody_holds_ends_its_run(beam: slither.Beam) -> None:
    gather = beam.gather(driven.double)
    # Its future holds a gather until it has its answer.
    future = gather.submit(4)
    gone, target = weakref.ref(gather), gather._target
    del gather
    assert future.result(PATIENCE) == 8
    del future
    gc.collect()
    assert gone() is None
    wait_until(lambda: target not in beam._calls._runs)
    assert beam.submit(driven.double, 4).result(PATIENCE) == 8
