"""A Beam's pool, as the program changes it: its sessions, its size, its code."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import driven
import pooled
import pytest

import slither

PATIENCE = 60.0


class TestSessions:
    def test_the_calls_of_a_session_share_state_in_one_worker(self, beam: slither.Beam) -> None:
        futures = [beam.submit_with(pooled.count, [w], session="a") for w in "xyz"]
        results = [future.result() for future in futures]
        assert [result[1] for result in results] == [["x"], ["x", "y"], ["x", "y", "z"]]
        assert len({result[0] for result in results}) == 1
        # Another function of the same session sees what the first has left.
        assert beam.submit_with(pooled.words, session="a").result() == ["x", "y", "z"]
        assert beam.submit_with(pooled.words, session="b").result() == []
        beam.end_session("a")
        beam.end_session("b")

    def test_calls_of_several_functions_keep_their_order(self, beam: slither.Beam) -> None:
        for n in range(20):
            beam.submit_with(pooled.count, [str(n)], session="order")
            seen = beam.submit_with(pooled.words, session="order")
        assert seen.result() == [str(n) for n in range(20)]
        beam.end_session("order")

    def test_a_session_that_ended_begins_anew(self, beam: slither.Beam) -> None:
        assert beam.submit_with(pooled.count, ["x"], session="once").result()[1] == ["x"]
        beam.end_session("once")
        assert beam.submit_with(pooled.words, session="once").result() == []
        beam.end_session("once")
        beam.end_session("never began")

    def test_what_a_call_of_a_session_raises_is_its_own(self, beam: slither.Beam) -> None:
        with pytest.raises(driven.OurError):
            beam.submit_with(driven.ours, [7], session="raises").result()
        with pytest.raises(slither.EncodeError, match=r"args\[0\]"):
            beam.submit_with(driven.echo, [object()], session="raises").result()
        assert beam.submit_with(pooled.later, ["x"], session="raises").result() == "X"
        beam.end_session("raises")

    def test_many_sessions_leave_no_runs_behind(self, beam: slither.Beam) -> None:
        for n in range(50):
            assert beam.submit_with(pooled.words, session=f"s{n}").result() == []
        left = [target for target in beam._calls._runs if target.session is not None]
        assert len(left) <= 1, "the last may not have ended yet"
        for n in range(50):
            beam.end_session(f"s{n}")

    def test_a_session_whose_worker_died_is_lost_until_it_is_ended(
        self, beam: slither.Beam
    ) -> None:
        beam.submit_with(pooled.count, ["x"], session="lost").result()
        with pytest.raises(slither.WorkerDied):
            beam.submit_with(pooled.die, session="lost").result()
        with pytest.raises(slither.CallError, match="is gone, and its state with it") as caught:
            beam.submit_with(pooled.words, session="lost").result()
        assert caught.value.kind == "session_lost"
        beam.end_session("lost")
        assert beam.submit_with(pooled.words, session="lost").result() == []
        beam.end_session("lost")

    @pytest.mark.parametrize("session", ["", 7])
    def test_a_session_has_a_name(self, beam: slither.Beam, session: Any) -> None:
        with pytest.raises(ValueError, match="session is a str"):
            beam.submit_with(pooled.words, session=session)
        with pytest.raises(ValueError, match="session is a str"):
            beam.end_session(session)


def test_a_restart_takes_up_changed_code(
    escript: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "changing_code.py"
    module.write_text("def version():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import changing_code  # type: ignore[import-not-found]

    version: Callable[[], int] = changing_code.version
    with slither.Beam(workers=2) as beam:
        assert beam.submit(version).result() == 1
        # Python takes cached bytecode for that of a source of the same second and size.
        module.write_text("def version():\n    return 22\n")
        beam.restart()
        assert {beam.submit(version).result() for _ in range(4)} == {22}
    del sys.modules["changing_code"]


def test_a_pool_is_resized_while_it_works(escript: None) -> None:
    with slither.Beam(workers=1) as beam:
        results = beam.map(driven.double, range(200), batch_size=1)
        assert next(results) == 0
        beam.resize(3)
        assert beam.workers == 3
        assert beam.status()["size"] == 3
        assert list(results) == [2 * n for n in range(1, 200)]
        beam.resize(1)
        assert beam.status()["size"] == 1
        assert beam.submit(driven.double, 2).result() == 4
        for wrong in (0, True, "2"):
            with pytest.raises(ValueError, match="workers is a whole number of 1 or more"):
                beam.resize(wrong)  # type: ignore[arg-type]


def test_a_table_has_two_names(beam: slither.Beam) -> None:
    table = beam.table("named_twice")
    table["a"] = 1
    assert beam.store("named_twice")["a"] == 1
    assert isinstance(table, slither.Table)


def test_a_beam_is_an_asynchronous_context(escript: None) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def use() -> list[int]:
        ticking = asyncio.create_task(tick())
        async with slither.Beam(workers=1) as beam:
            got = [result async for result in beam.amap(driven.double, [1, 2])]
        assert beam._link.finished.is_set()
        ticking.cancel()
        return got

    assert asyncio.run(use()) == [2, 4]
    assert ticks > 10, "the event loop went on"


def test_an_asynchronous_context_that_cannot_start_raises_and_leaves_nothing(
    escript: None,
) -> None:
    async def use() -> None:
        async with slither.Beam(workers=1, preload=["no_such_module"]):
            raise AssertionError

    with pytest.raises(slither.CallError, match="no_such_module"):
        asyncio.run(use())


def test_a_coroutine_function_is_submitted_for_what_it_returns(beam: slither.Beam) -> None:
    assert beam.submit(pooled.later, "x").result() == "X"


def test_types_of_what_a_beam_gives_are_public(beam: slither.Beam) -> None:
    results = beam.map(driven.double, [1])
    assert isinstance(results, slither.Results)
    assert list(results) == [2]
    assert isinstance(results.summary, slither.Summary)
    assert slither.Outputs is type(beam.run(slither.Pipe("p").beam("a", slither.item), [1]))
    assert os.getpid() != beam.submit(pooled.pid).result()
