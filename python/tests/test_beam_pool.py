"""A Beam's pool, as the program changes it: its sessions, its size, its code."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import driven
import pooled
import pytest
from hypothesis import given
from hypothesis import strategies as st

import slither
from slither._driver.turns import Turns
from slither._driver.window import Target

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


def test_a_pool_grows_while_calls_wait_and_shrinks_when_none_do(
    escript: None, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    with slither.Beam((1, 3), pool={"grow_after": 0.02, "idle": 0.1}) as beam:
        assert beam.workers == 3
        beam.wait_ready()
        status = beam.status()
        assert (status.size, status.range, status.changed) == (1, (1, 3), None)
        futures = [beam.submit(pooled.hold, str(go)) for _ in range(3)]
        # Each runs once there is a worker for it, beside the others.
        wait_until(lambda: beam.status().busy == 3)
        changed = beam.status().changed
        assert changed is not None
        assert (changed.after, changed.why) == (3, "waited")
        assert "1 to 3 may be" in str(beam.status())
        go.touch()
        assert len({future.result() for future in futures}) == 3
        wait_until(lambda: beam.status().size == 1)
        changed = beam.status().changed
        assert changed is not None
        assert (changed.why, beam.status().died) == ("idle", 0)
        beam.resize((2, 4))
        assert (beam.workers, beam.status().range) == (4, (2, 4))
        beam.resize(1)
        assert (beam.workers, beam.status().range) == (1, (1, 1))


def test_a_map_has_a_pool_grow_to_the_most(escript: None) -> None:
    with slither.Beam((1, 3), pool={"grow_after": 0.02, "idle": None}) as beam:
        more = iter(lambda: beam.status().size, 3)
        assert set(beam.map(driven.echo, more, batch_size=1)) <= {1, 2}
        assert beam.status().size == 3


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        # The answer to the next question is what it waits for.


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
            with pytest.raises(ValueError, match="workers is a whole number from 1 to 1,000"):
                beam.resize(wrong)  # type: ignore[arg-type]


def test_runs_wait_for_each_other_however_short_the_queue_is(escript: None) -> None:
    expected = [2 * n for n in range(200)]
    with slither.Beam(workers=2, pool={"max_queue": 1}) as beam:
        # While the workers start, one call may wait: a map would have asked for eight.
        maps = [beam.map(driven.double, range(200), batch_size=1) for _ in range(4)]
        futures = [beam.submit(driven.double, n) for n in range(200)]
        for results in zip(*maps, strict=True):
            assert len(set(results)) == 1
        assert [future.result(PATIENCE) for future in futures] == expected


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


class TestOrderOfASession:
    def test_an_end_comes_after_the_calls_before_it(self, beam: slither.Beam) -> None:
        # More calls than go out at once, so that some wait here for room.
        futures = [beam.submit_with(pooled.count, [str(n)], session="end") for n in range(200)]
        beam.end_session("end")
        assert all(future.done() for future in futures)
        assert futures[-1].result()[1] == [str(n) for n in range(200)]
        assert beam.submit_with(pooled.words, session="end").result() == []
        beam.end_session("end")

    def test_limits_of_calls_leave_their_order(self, beam: slither.Beam) -> None:
        for n in range(60):
            # Those of the first limit are more than go out at once.
            limit = None if n < 40 else 50.0 + n % 2
            beam.submit_with(pooled.count, [str(n)], timeout=limit, session="limits")
        seen = beam.submit_with(pooled.words, session="limits")
        assert seen.result() == [str(n) for n in range(60)]
        beam.end_session("limits")

    def test_calls_that_are_cancelled_hold_up_nobody(
        self, beam: slither.Beam, tmp_path: Path
    ) -> None:
        gate = [str(tmp_path / name) for name in ("began", "go")]
        first = beam.submit_with(driven.wait_for, [gate], session="dropped")
        while not os.path.exists(gate[0]):
            os.sched_yield()
        futures = [
            beam.submit_with(pooled.words, timeout=float(n % 2 + 50), session="dropped")
            for n in range(2_000)
        ]
        cancelled = [future.cancel() for future in futures]
        assert all(cancelled)
        last = beam.submit_with(pooled.words, session="dropped")
        (tmp_path / "go").touch()
        assert last.result(PATIENCE) == []
        assert first.result() == gate[0]
        beam.end_session("dropped")
        assert not beam._calls._turns.held

    def test_what_is_held_back_ends_with_the_beam(self, escript: None, tmp_path: Path) -> None:
        gate = [str(tmp_path / name) for name in ("began", "never")]
        ended: SimpleQueue[Exception] = SimpleQueue()
        with slither.Beam(workers=1) as beam:
            out = beam.submit_with(driven.wait_for, [gate], session="s")
            held = beam.submit_with(pooled.words, timeout=50.0, session="s")

            def end() -> None:
                try:
                    beam.end_session("s")
                except slither.BeamError as error:
                    ended.put(error)

            thread = threading.Thread(target=end)
            thread.start()
            while not os.path.exists(gate[0]):
                os.sched_yield()
        thread.join(PATIENCE)
        assert isinstance(ended.get(timeout=PATIENCE), slither.BeamClosed)
        for future in (out, held):
            assert isinstance(future.exception(PATIENCE), slither.BeamError)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")),
            st.just(None),
        ),
        max_size=40,
    )
)
def test_turns_keep_the_order_of_each_session(steps: list[tuple[str, str] | None]) -> None:
    turns: Turns[tuple[str, str, int]] = Turns()
    went: list[tuple[str, str, int]] = []
    given: list[tuple[str, str, int]] = []
    out: dict[str, set[str]] = {}

    def go(entry: tuple[str, str, int]) -> None:
        went.append(entry)
        out.setdefault(entry[0], set()).add(entry[1])
        assert len(out[entry[0]]) == 1, "one key at a time"

    def over() -> bool:
        for session, keys in list(out.items()):
            assert turns.over(session, "no such key") == []
            del out[session]
            for entry in turns.over(session, keys.pop()):
                go(entry)
        return bool(out)

    for number, step in enumerate(steps):
        if step is None:
            over()
            continue
        entry = (*step, number)
        given.append(entry)
        if turns.take(*step, entry):
            go(entry)
    while over():
        pass
    for session in "ab":
        assert [e for e in went if e[0] == session] == [e for e in given if e[0] == session]
    assert turns.held == 0


class TestWhatNeverHangs:
    def test_a_name_that_is_no_text_is_refused(self, beam: slither.Beam) -> None:
        for name in ("\ud800", "x" * 1_000):
            with pytest.raises(ValueError, match="a str of 1 to 255 bytes of UTF-8") as caught:
                beam.submit_with(pooled.words, session=name)
            assert len(str(caught.value)) < 160
        assert beam.submit_with(pooled.words, session="ü" * 127).result() == []
        beam.end_session("ü" * 127)

    def test_an_order_that_raises_fails_its_own_future(
        self, beam: slither.Beam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A target that no frame can say: whatever lets one through, it must not end the writer.
        for target in (Target("driven", "\ud800", None), Target.of_any(None, "\ud800")):
            future = beam._calls.submit(beam, target, [((1,), {})])
            assert isinstance(future.exception(PATIENCE), slither.EncodeError)
        said: SimpleQueue[str] = SimpleQueue()
        monkeypatch.setattr(beam._link.relay, "_log", lambda got: said.put(got.message))
        beam._link.writer.order([].pop)
        assert "IndexError: pop from empty list" in said.get(timeout=PATIENCE)
        assert beam.submit(driven.double, 2).result(PATIENCE) == 4

    def test_a_future_whose_lock_was_left_taken_holds_up_no_other(
        self, beam: slither.Beam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = beam._link.writer.order
        monkeypatch.setattr(
            beam._link.writer, "order", lambda *args, **options: orders.append((args, options))
        )
        orders: list[Any] = []
        left = beam.submit(driven.double, 1)
        thread = threading.Thread(target=left._condition.acquire)
        thread.start()
        thread.join()
        monkeypatch.undo()
        for args, options in orders:
            queue(*args, **options)
        assert beam.submit(driven.double, 2).result(PATIENCE) == 4
        assert left.result(PATIENCE) == 2

    def test_a_pool_has_a_thousand_workers_at_most(self, beam: slither.Beam) -> None:
        for many in (1_001, 10**20):
            with pytest.raises(ValueError, match="workers is a whole number from 1 to 1,000"):
                beam.resize(many)
            with pytest.raises(ValueError, match="workers is a whole number from 1 to 1,000"):
                slither.Beam(workers=many)

    def test_a_wait_has_a_limit(self, beam: slither.Beam) -> None:
        with pytest.raises(ValueError, match=r"timeout is a number of seconds .* not None"):
            beam.wait_ready(None)  # type: ignore[arg-type]
