"""Checked by mypy: what a Beam gives back has the types of what it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import slither
from slither import Pipe
from slither.pipe import retry, route
from slither.worker import batch_handler


def length(text: str) -> int:
    return len(text)


@batch_handler("typed_lengths")
def lengths(texts: list[str]) -> list[int]:
    return list(map(len, texts))


def yielded(texts: list[str]) -> Iterator[int]:
    return map(len, texts)


async def later(texts: list[str]) -> list[int]:
    return list(map(len, texts))


def combine(text: str, count: int) -> bytes:
    return text.encode() * count


def three(text: str, count: int, rate: float) -> str:
    return f"{text}{count}{rate}"


async def shout(text: str) -> str:
    return text.upper()


async def words() -> AsyncIterator[str]:
    yield "a"


if TYPE_CHECKING:
    from typing_extensions import assert_type

    def each(beam: slither.Beam) -> None:
        assert_type(beam.map(length, ["a"], each=True), slither.Results[int])
        assert_type(beam.map(lengths, ["a"], each=False), slither.Results[int])
        assert_type(beam.map(lengths, [["a"]], each=True), slither.Results[list[int]])
        assert_type(beam.map(yielded, ["a"]), slither.Results[int])
        assert_type(beam.map(later, ["a"], each=False), slither.Results[int])
        assert_type(beam.amap(yielded, ["a"], each=False), slither.AsyncResults[int])
        beam.map(lengths, ["a"], each=True)  # type: ignore[call-overload]
        beam.map(length, ["a"], each=False)  # type: ignore[call-overload]
        beam.map(length, ["a"], each="yes")  # type: ignore[call-overload]

    def use(beam: slither.Beam, pipe: Pipe) -> None:
        for result in beam.map(length, ["a"]):
            assert_type(result, int)
        for result in beam.map(lengths, ["a"]):
            assert_type(result, int)
        iterator: Iterator[int] = beam.map(length, iter(["a"]))
        beam.map(length, [1])  # type: ignore[arg-type]
        beam.map(length, ["a"], ordering="sorted")  # type: ignore[call-overload]
        beam.map(length, ["a"], on_error=retry(max_attempts=2))
        for either in beam.map(length, ["a"], on_error="return", batch_size=2):
            assert_type(either, int | Exception)
        for either in beam.map(lengths, ["a"], on_error="return"):
            assert_type(either, int | Exception)
        beam.map(length, ["a"], item_timeout="1")  # type: ignore[call-overload]
        beam.map(length, ["a"], batchsize=2)  # type: ignore[call-overload]
        beam.map(length, ["a"], on_error=7)  # type: ignore[call-overload]
        beam.map(length, ["a"], on_error=route("bad"))
        beam.map(7, ["a"])  # type: ignore[call-overload]
        assert_type(beam.submit(length, "a"), slither.CallFuture[int])
        assert_type(beam.submit(length, "a").result(), int)
        beam.submit(length, 7)  # type: ignore[call-overload]
        beam.submit(length)  # type: ignore[call-overload]
        assert_type(beam.submit(shout, "a"), slither.CallFuture[str])
        assert_type(
            beam.submit_with(length, ["a"], timeout=1.0, session="s"), slither.CallFuture[int]
        )
        beam.submit_with(length, ["a"], sesion="s")  # type: ignore[call-overload]
        assert_type(beam.stream_call(lengths, ["a"]), slither.Results[int])
        assert_type(beam.stream_call(words), slither.Results[str])
        assert_type(beam.stream_call_with(words, timeout=1.0), slither.Results[str])
        beam.stream_call(lengths, 7)  # type: ignore[call-overload]
        beam.stream_call(length, "a")  # type: ignore[call-overload]
        beam.stream_call_with(words, timout=1.0)  # type: ignore[call-overload]
        assert_type(beam.astream_call(lengths, ["a"]), slither.AsyncResults[int])
        results: slither.Results[int] = beam.map(length, ["a"])
        summary: slither.Summary = results.summary
        outputs: slither.Outputs = beam.run(pipe, ["a"])
        table: slither.Table[Any, Any] = beam.table("name")
        assert summary, (outputs, table)
        slither.Beem()  # type: ignore[attr-defined]
        assert slither.itme  # type: ignore[attr-defined]
        slither.pipe.retri()  # type: ignore[attr-defined]
        beam.mapp(length, ["a"])  # type: ignore[attr-defined]
        assert_type(beam.gather(length)("a"), int)
        assert_type(beam.gather(lengths), slither.Gather[str, int])
        assert_type(beam.gather(lengths, each=True), slither.Gather[list[str], list[int]])
        assert_type(beam.gather(lengths).submit("a").result(), int)
        beam.gather(length)(7)  # type: ignore[arg-type]
        beam.gather(length, max_bach=2)  # type: ignore[call-overload]
        beam.gather(lengths, key=len)("a", timeout="1")  # type: ignore[arg-type]
        assert_type(beam.run(pipe, ["a"])["accept"], list[Any])
        assert_type(beam.run(pipe, ["a"]).summary.items, int)
        for output, _value in beam.stream(pipe, ["a"]):
            assert_type(output, str)
        beam.run(length, ["a"])  # type: ignore[arg-type]
        beam.store("name")["key"] = 7
        slither.Beam(workers="2")  # type: ignore[arg-type]
        assert iterator

    def use_several(beam: slither.Beam) -> None:
        for both in beam.map(combine, ["a"], [1]):
            assert_type(both, bytes)
        for all_three in beam.map(three, ["a"], [1], [2.0], batch_size=2):
            assert_type(all_three, str)
        for fails in beam.map(combine, ["a"], [1], on_error="return"):
            assert_type(fails, bytes | Exception)
        beam.map(combine, ["a"], ["b"])  # type: ignore[arg-type]
        beam.map(combine, ["a"], [1], batchsize=2)  # type: ignore[call-overload]
        beam.map(length, ["a"], session="s", each=True)

    async def use_async(beam: slither.Beam) -> None:
        async with slither.Beam() as other:
            assert_type(other, slither.Beam)
        assert_type(await beam.gather(lengths).acall("a"), int)
        async for result in beam.amap(length, words()):
            assert_type(result, int)
        async for either in beam.amap(length, words(), on_error="return"):
            assert_type(either, int | Exception)

    def use_executor(executor: slither.Executor) -> None:
        anything: Executor = executor
        assert_type(executor.submit(length, "a"), slither.CallFuture[int])
        for result in executor.map(length, ["a"], chunksize=2):
            assert_type(result, int)
        assert anything
