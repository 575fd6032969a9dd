"""Calls of a Beam that give values one by one."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import giving
import pytest

import slither

PATIENCE = 60.0


def closed(path: Path) -> list[str]:
    """Return what the generator has told, once it has told that it is closed."""
    end = time.monotonic() + PATIENCE
    while True:
        lines = path.read_text().splitlines() if path.exists() else []
        if "closed" in lines:
            return lines
        assert time.monotonic() < end, lines
        time.sleep(0.01)


def plainly(beam: slither.Beam, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    return list(beam.stream_call(function, *arguments))


def asynchronously(
    beam: slither.Beam, function: Callable[..., Any], *arguments: Any
) -> list[Any]:
    async def read() -> list[Any]:
        return [value async for value in beam.astream_call(function, *arguments)]

    return asyncio.run(read())


Reads = Callable[..., "list[Any]"]
both = pytest.mark.parametrize("reads", [plainly, asynchronously])


class TestValues:
    @both
    @pytest.mark.parametrize("function", [giving.count, giving.acount, giving.later])
    @pytest.mark.parametrize("n", [0, 1, 2_500])
    def test_come_as_the_generator_gives_them(
        self, beam: slither.Beam, reads: Reads, function: Callable[..., Any], n: int
    ) -> None:
        assert reads(beam, function, n) == list(range(n))

    def test_come_of_named_arguments_and_of_a_list(self, beam: slither.Beam) -> None:
        assert list(beam.stream_call(giving.later, 2, plus=5)) == [5, 6]
        assert list(beam.stream_call_with(giving.later, [2], {"plus": 5})) == [5, 6]
        assert list(beam.stream_call(giving.words, "a b")) == ["a", "b"]

    def test_are_the_same_values(self, beam: slither.Beam) -> None:
        values = [None, 1 << 80, float("inf"), b"\xff", {"a": [1.5]}, "ü"]
        assert list(beam.stream_call(giving.echo, *values)) == values

    def test_arguments_are_read_at_once(self, beam: slither.Beam) -> None:
        row = {"a": 1}
        stream = beam.stream_call(giving.echo, row)
        row["a"] = 2
        assert list(stream) == [{"a": 1}]

    def test_nothing_is_called_before_it_is_read(
        self, beam: slither.Beam, tmp_path: Path
    ) -> None:
        path = tmp_path / "told"
        stream = beam.stream_call(giving.count, 1_000_000, str(path))
        assert beam.submit(giving.words, "a").result() == ["a"]
        assert not path.exists()
        assert [next(stream) for _ in range(10)] == list(range(10))
        stream.close()
        assert len(closed(path)) <= 1_001

    def test_of_many_threads_come_side_by_side(self, beam: slither.Beam) -> None:
        found: dict[int, int] = {}

        def read(n: int) -> None:
            found[n] = sum(beam.stream_call(giving.count, n))

        threads = [threading.Thread(target=read, args=(500 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert found == {500 * n: sum(range(500 * n)) for n in range(8)}

    def test_of_many_tasks_come_side_by_side(self, beam: slither.Beam) -> None:
        async def read(n: int) -> int:
            return sum([value async for value in beam.astream_call(giving.acount, n)])

        async def all_of_them() -> list[int]:
            return await asyncio.gather(*(read(500 * n) for n in range(8)))

        assert asyncio.run(all_of_them()) == [sum(range(500 * n)) for n in range(8)]

    def test_have_the_state_of_their_session(self, beam: slither.Beam) -> None:
        first = beam.stream_call_with(giving.remembers, [2], session="giving")
        assert list(first) == [1, 2]
        assert list(beam.stream_call_with(giving.remembers, [1], session="giving")) == [3]
        beam.end_session("giving")
        assert list(beam.stream_call_with(giving.remembers, [1], session="giving")) == [1]

    def test_are_counted(self, beam: slither.Beam) -> None:
        stream = beam.stream_call(giving.count, 3)
        assert list(stream) == [0, 1, 2]
        assert stream.summary.outputs == {"values": 3}


class TestEnds:
    def test_to_close_it_closes_the_generator(self, beam: slither.Beam, tmp_path: Path) -> None:
        for function in (giving.count, giving.acount):
            path = tmp_path / function.__name__
            stream = beam.stream_call(function, 100_000, str(path))
            assert next(stream) == 0
            stream.close()
            assert closed(path)
            assert len(list(stream)) < 2_000

    def test_to_drop_it_closes_the_generator(self, beam: slither.Beam, tmp_path: Path) -> None:
        path = tmp_path / "told"
        for value in beam.stream_call(giving.count, 100_000, str(path)):
            if value == 5:
                break
        gc.collect()
        assert closed(path)

    def test_to_leave_an_asynchronous_loop_closes_the_generator(
        self, beam: slither.Beam, tmp_path: Path
    ) -> None:
        path = tmp_path / "told"

        async def read() -> None:
            stream = beam.astream_call(giving.acount, 100_000, str(path))
            async for value in stream:
                if value == 5:
                    break
            await stream.aclose()

        asyncio.run(read())
        assert closed(path)

    def test_to_cancel_the_task_closes_the_generator(
        self, beam: slither.Beam, tmp_path: Path
    ) -> None:
        path = tmp_path / "told"

        async def read(reading: asyncio.Event) -> None:
            async for _ in beam.astream_call(giving.acount, 1_000_000, str(path)):
                reading.set()
                await asyncio.sleep(0)

        async def cancel() -> None:
            reading = asyncio.Event()
            task = asyncio.create_task(read(reading))
            await reading.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(cancel())
        assert closed(path)


class TestFailures:
    @both
    def test_an_exception_comes_after_the_values(self, beam: slither.Beam, reads: Reads) -> None:
        with pytest.raises(ValueError, match="after") as caught:
            reads(beam, giving.raises_after, 2)
        assert caught.value.args == ("after", 2)
        assert "giving.py" in str(caught.value.__cause__)

    def test_values_before_it_are_seen(self, beam: slither.Beam) -> None:
        stream = beam.stream_call(giving.raises_after, 2)
        assert [next(stream), next(stream)] == [0, 1]
        with pytest.raises(ValueError, match="after"):
            next(stream)
        assert list(stream) == []

    def test_a_handlers_exit_ends_no_program(self, beam: slither.Beam) -> None:
        with pytest.raises(slither.HandlerError, match="SystemExit"):
            list(beam.stream_call(giving.stops_after, 1))

    def test_a_function_that_gives_no_values(self, beam: slither.Beam) -> None:
        number: Callable[[], Any] = giving.number
        with pytest.raises(slither.CallError, match="for one value return a list of one"):
            list(beam.stream_call(number))

    def test_a_worker_that_dies(self, beam: slither.Beam) -> None:
        stream = beam.stream_call(giving.dies_after, 3)
        seen: list[int] = []
        with pytest.raises(slither.WorkerDied):
            seen.extend(stream)
        assert seen == [0, 1, 2][: len(seen)]

    def test_a_value_that_takes_too_long(self, beam: slither.Beam) -> None:
        limited = beam.stream_call_with(giving.hangs_after, [2], timeout=0.5)
        with pytest.raises(slither.CallTimeout, match=r"0\.5 s"):
            list(limited)

    def test_mistakes_are_told_at_once(self, beam: slither.Beam) -> None:
        with pytest.raises(slither.EncodeError, match=r"args\[0\]"):
            beam.stream_call(giving.echo, object())
        with pytest.raises(slither.EncodeError, match="kwargs"):
            beam.stream_call_with(giving.later, [1], {"plus": object()})
        with pytest.raises(slither.NotImportable):
            beam.stream_call(lambda: [1])
        with pytest.raises(ValueError, match="timeout"):
            beam.stream_call_with(giving.count, [1], timeout=-1)
        with pytest.raises(ValueError, match="session"):
            beam.stream_call_with(giving.count, [1], session=7)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="timout"):
            beam.stream_call_with(giving.count, [1], timout=1)  # type: ignore[call-overload]

    def test_a_beam_that_is_closed(self, escript: object) -> None:
        with slither.Beam(workers=1) as beam:
            stream = beam.stream_call(giving.count, 100_000)
            assert next(stream) == 0
            late = beam.stream_call(giving.count, 1)
        with pytest.raises(slither.BeamError):
            list(stream)
        with pytest.raises(slither.BeamError):
            list(late)
