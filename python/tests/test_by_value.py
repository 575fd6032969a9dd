"""Functions by value, of a program and the workers that it started, and of nobody else."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import driven
import pytest
from peer import Worker

import slither
import slither.store
from slither import _by_value
from slither._pickles import Pickles, WrongVersion
from slither._seal import Broken, Seal, secret
from slither._types import Payload
from slither._wire import frames

PATIENCE = 60


@pytest.fixture(scope="module")
def beam(escript: Path) -> Iterator[slither.Beam]:
    with slither.Beam(workers=2, by_value=True) as started:
        yield started


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self, by: int) -> int:
        self.count += by
        return self.count

    def __call__(self, item: int) -> int:
        return self.add(item)


def times(factor: int) -> Callable[[int], int]:
    def inner(item: int) -> int:
        return item * factor

    return inner


def kept_in(kept: list[int], item: int) -> int:
    kept.append(item)
    return len(kept)


def length_of(held: bytes) -> Callable[[], int]:
    return lambda: len(held)


class TestFunctions:
    def test_of_all_kinds_are_called(self, beam: slither.Beam) -> None:
        assert beam.submit(lambda: "lambda").result(PATIENCE) == "lambda"
        assert beam.submit(times(3), 5).result(PATIENCE) == 15
        assert beam.submit(functools.partial(pow, 2), 5).result(PATIENCE) == 32
        assert beam.submit(Counter().add, 5).result(PATIENCE) == 5
        assert beam.submit(Counter(), 6).result(PATIENCE) == 6
        assert beam.submit("a-b".split, "-").result(PATIENCE) == ["a", "b"]
        assert beam.submit(lambda: times(4)(5)).result(PATIENCE) == 20
        assert beam.submit(driven.double, 4).result(PATIENCE) == 8, "by reference, as ever"
        assert beam.submit_with(lambda a, *, b: [a, b], (1,), {"b": 2}).result(PATIENCE) == [1, 2]

    def test_that_are_coroutines_are_awaited(self, beam: slither.Beam) -> None:
        async def later(item: int) -> int:
            return item + 1

        assert beam.submit(later, 4).result(PATIENCE) == 5
        found: list[Payload] = list(beam.map(later, range(20)))
        assert found == list(range(1, 21))

    def test_go_wherever_functions_go(self, beam: slither.Beam) -> None:
        assert list(beam.map(lambda item: item * 2, range(50))) == list(range(0, 100, 2))
        assert list(beam.map(lambda a, b: a + b, [1, 2], [3, 4])) == [4, 6]
        assert list(beam.map(lambda items: items[::-1], [1, 2, 3], each=False, batch_size=3))
        assert list(beam.stream_call(lambda count: iter(range(count)), 3)) == [0, 1, 2]
        gather = beam.gather(lambda item: item + 1)
        assert [gather(item) for item in (1, 2)] == [2, 3]
        session = [
            beam.submit_with(lambda item: item, (item,), session="by value") for item in (1, 2)
        ]
        assert [future.result(PATIENCE) for future in session] == [1, 2]
        with slither.Executor(beam=beam) as executor:
            assert executor.submit(lambda: 7).result(PATIENCE) == 7
            assert list(executor.map(times(2), range(9), chunksize=4)) == list(range(0, 18, 2))

    @pytest.mark.parametrize("chunk", [1, 100])
    def test_go_once_however_many_items_there_are(
        self, beam: slither.Beam, monkeypatch: pytest.MonkeyPatch, chunk: int
    ) -> None:
        put: list[str] = []
        ask = beam._link.ask_table

        def ask_noted(
            call: int, table: str, op: str, arguments: tuple[Payload, ...]
        ) -> frames.Answer:
            put.append(op)
            return ask(call, table, op, arguments)

        monkeypatch.setattr(beam._link, "ask_table", ask_noted)
        text = f"{chunk}" * 1_000
        function = lambda item: item + len(text)  # noqa: E731 - one that is sent many times
        for _ in range(3):
            list(beam.map(function, range(1_000), batch_size=chunk))
        assert put == ["put"]

    def test_are_the_code_of_the_moment(self, beam: slither.Beam) -> None:
        space: dict[str, Payload] = {"__name__": "__main__"}
        exec("def helper(): return 1\ndef go(): return helper() + extra\nextra = 10", space)
        assert beam.submit(space["go"]).result(PATIENCE) == 11
        space["extra"] = 20
        exec("def helper(): return 2", space)
        assert beam.submit(space["go"]).result(PATIENCE) == 22

    def test_keep_no_state_of_a_call_where_they_are_objects(self, beam: slither.Beam) -> None:
        counter = Counter()
        assert [beam.submit(counter.add, 2).result(PATIENCE) for _ in range(6)] == [2] * 6
        assert [beam.submit(counter, 2).result(PATIENCE) for _ in range(6)] == [2] * 6
        append = functools.partial(kept_in, [])
        assert [beam.submit(append, 2).result(PATIENCE) for _ in range(6)] == [1] * 6
        assert counter.count == 0

    def test_raise_with_their_own_lines(self, beam: slither.Beam) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            beam.submit(lambda: 1 / 0).result(PATIENCE)
        assert "test_by_value.py" in str(caught.value.__cause__)
        assert "beam.submit(lambda: 1 / 0)" in str(caught.value.__cause__)

    def test_that_cannot_be_pickled_are_refused_with_the_reason(self, beam: slither.Beam) -> None:
        lock = threading.Lock()
        with pytest.raises(slither.NotImportable, match=r"<lambda> can't go .*thread.lock"):
            beam.submit(lambda: [lock])
        with pytest.raises(slither.NotImportable, match="a handler is a function"):
            beam.submit(7)  # type: ignore[call-overload]
        with pytest.raises(slither.NotImportable, match="names no handler"):
            beam.submit("no handler")  # type: ignore[call-overload]

    def test_that_are_too_large_are_refused_with_what_to_do(
        self, beam: slither.Beam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("slither._driver.by_value._MOST", 50_000)
        held = os.urandom(50_000)
        with pytest.raises(
            slither.NotImportable,
            match=r"<lambda> can't go .* it has 5\d{4} bytes.* as arguments",
        ):
            beam.submit(length_of(held))
        assert beam.submit(length_of(held[:40_000])).result(PATIENCE) == 40_000

    @pytest.mark.parametrize("wrong", ["no", 1, "False"])
    def test_are_asked_for_by_true_or_false(self, wrong: bool) -> None:
        with pytest.raises(ValueError, match=f"by_value is True or False, not {wrong!r}"):
            slither.Beam(1, by_value=wrong)
        with pytest.raises(ValueError, match=f"by_value is True or False, not {wrong!r}"):
            slither.Executor(1, by_value=wrong)
        with pytest.raises(slither.PipeError, match=f"by_value is True or False, not {wrong!r}"):
            slither.Pipe("odd", by_value=wrong)

    def test_that_cannot_be_opened_fail_their_own_call(self, beam: slither.Beam) -> None:
        with pytest.raises(
            slither.SlitherError, match=r"Unopened.*could not be opened.*RuntimeError: on purpose"
        ):
            beam.submit(Unopened()).result(PATIENCE)
        results = list(beam.map(Unopened(), range(3), on_error="return"))
        assert all("on purpose" in str(error) for error in results)
        assert beam.submit(lambda: 1).result(PATIENCE) == 1

    def test_reach_workers_that_start_later(self, beam: slither.Beam) -> None:
        function = times(7)
        assert beam.submit(function, 1).result(PATIENCE) == 7
        beam.restart()
        assert beam.submit(function, 2).result(PATIENCE) == 14

    def test_are_gone_from_beam_once_nobody_has_them(self, beam: slither.Beam) -> None:
        def ask() -> int:
            status, size = beam._link.ask_table(0, _by_value.TABLE, "size", ())
            assert status == 0
            return int(size)

        futures = []
        for number in range(300):
            held = bytes(100) + str(number).encode()
            futures.append(beam.submit(length_of(held)))
        assert {future.result(PATIENCE) for future in futures} == {101, 102, 103}
        gc.collect()
        # Some of the last are kept, as most functions are used again.
        assert ask() <= 128
        functions = beam._functions
        assert len(functions._known) <= 128  # type: ignore[attr-defined]

    def test_of_many_bytes_are_not_kept(self, beam: slither.Beam) -> None:
        for number in range(4):
            held = bytes(12_000_000) + str(number).encode()
            assert beam.submit(length_of(held)).result(PATIENCE) == 12_000_001
        functions = beam._functions
        gc.collect()
        assert sum(held.size for held in functions._recent.values()) < 17e6  # type: ignore[attr-defined]


class Unopened:
    def __call__(self, item: int = 0) -> int:
        return item

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return _refuse, ("on purpose",)


def _refuse(why: str) -> None:
    raise RuntimeError(why)


class TestStart:
    def test_an_initializer_goes_by_value(self, escript: Path) -> None:
        kept = {"a": 1}

        def begin(more: int) -> None:
            os.environ["BEGUN"] = str(kept["a"] + more)

        with slither.Beam(1, by_value=True, initializer=begin, initargs=(2,)) as beam:
            assert beam.submit(os.getenv, "BEGUN").result(PATIENCE) == "3"

    def test_an_executor_takes_all_functions_by_itself(self, escript: Path) -> None:
        with slither.Executor(1) as executor:
            assert executor.submit(lambda: 5).result(PATIENCE) == 5
        with slither.Executor(1, by_value=False) as executor:
            with pytest.raises(slither.NotImportable):
                executor.submit(lambda: 5)
            with pytest.raises(ValueError, match="not Beam\\(by_value=True\\)"):
                slither.Executor(beam=executor._beam, by_value=True)

    def test_without_cloudpickle_it_says_how_to_get_it(
        self, escript: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("slither._driver.by_value.find_spec", lambda _name: None)
        with pytest.raises(ImportError, match=r"slither-beam\[pickle\]"):
            slither.Beam(1, by_value=True)
        with slither.Executor(1) as executor, pytest.raises(slither.NotImportable):
            executor.submit(lambda: 5)


class TestDropIn:
    """What programs expect of an executor that was a ProcessPoolExecutor."""

    def test_a_death_is_what_they_catch(self, beam: slither.Beam) -> None:
        from concurrent.futures.process import BrokenProcessPool

        with slither.Executor(beam=beam) as executor:
            died = executor.submit(_die)
            with pytest.raises(BrokenProcessPool) as caught:
                died.result(PATIENCE)
            assert isinstance(caught.value, slither.WorkerDied)
            again = pickle.loads(pickle.dumps(caught.value))
            assert (type(again), str(again)) == (slither.WorkerDied, str(caught.value))
            assert executor.submit(lambda: 1).result(PATIENCE) == 1

    def test_arguments_come_in_their_order(self, escript: Path) -> None:
        context = multiprocessing.get_context("spawn")
        with slither.Executor(1, context, os.putenv, ("HERE", "1")) as executor:
            assert executor._max_workers == 1
            assert executor.submit(lambda: 1).result(PATIENCE) == 1


def _die() -> None:
    os.kill(os.getpid(), 9)


class TestClosed:
    """What only this program and its workers open."""

    function = ("apply", "somewhere", "<lambda>@1")

    def test_a_worker_without_the_secret_refuses(self, worker: Worker) -> None:
        error = worker.error([*self.function], [[[], {}]])
        assert error["kind"] == "import"
        assert "<lambda> went by value, which only the workers of the program" in error["message"]
        got = worker.run(["apply", *_by_value.OPEN], [[[b"x" * 40], {}]])
        assert "the initializer went by value" in got.errors[0]["message"]

    @pytest.mark.parametrize("what", ["theirs", "changed", "short", "of another key"])
    def test_a_worker_opens_nothing_that_others_have_signed(self, what: str) -> None:
        ours = secret()
        data = Pickles(None).dumps(os.getpid)
        seal = Seal(secret() if what == "theirs" else ours)
        key = _by_value.FUNCTION + ("2" if what == "of another key" else "1")
        sealed = seal.closed(key, data)
        if what == "changed":
            sealed = sealed[:-1] + b"x"
        if what == "short":
            sealed = b""
        with Worker(secret=ours) as worker:
            worker.ready()
            worker.call([*self.function], [[[], {}]])
            asked = worker.expect(frames.TableCall)
            assert asked[2:] == (_by_value.TABLE, "get", ["1"])
            worker.send(frames.VIEW_REPLY, asked.id, 0, [sealed])
            error = worker.expect(frames.Error).error
            assert "its signature is not of this program" in error["message"]
            # What is of this program is opened.
            worker.call([*self.function], [[[], {}]])
            asked = worker.expect(frames.TableCall)
            sealed = Seal(ours).closed(_by_value.FUNCTION + "1", data)
            worker.send(frames.VIEW_REPLY, asked.id, 0, [sealed])
            assert worker.expect(frames.Result).results == [worker.process.pid]

    def test_a_wrong_secret_is_not_shown(self) -> None:
        with Worker(secret=b"abcd") as worker:
            worker.start()
            error = worker.expect(frames.Failed).error
            assert error["message"] == "the welcome's setting secret can't be what it is"

    def test_no_worker_can_read_the_secret_in_what_a_process_shows(
        self, beam: slither.Beam
    ) -> None:
        key = beam._functions._secret  # type: ignore[attr-defined]
        shown = beam.submit(driven.environment).result(PATIENCE)
        assert key not in shown
        assert key.hex().encode() not in shown
        assert len(key) == _by_value.SIZE

    def test_the_seal_holds(self) -> None:
        seal = Seal(secret())
        closed = seal.closed("a", b"bc")
        assert bytes(seal.opened("a", closed)) == b"bc"
        for what, data in (("ab", closed), ("a", closed[:-1]), ("a", b"\0" + closed), ("a", b"")):
            with pytest.raises(Broken):
                seal.opened(what, data)

    def test_code_of_another_version_is_refused(self) -> None:
        data = bytearray(Pickles(None).dumps(lambda: 1))
        data[2] += 1
        with pytest.raises(WrongVersion, match="its code is of Python 3"):
            Pickles(None).loads(bytes(data))


SCRIPT = """
import slither, sys

class Here:
    def __init__(self, n): self.n = n
    def get(self, _item=None): return self.n

def here(item): return [item, __name__]

def twice(item): return "of all"

counted = 1

if __name__ == "__main__":
    counted = 2
    class Guarded(Here): pass
    def twice(item): return "of the program alone"
    exec("def made(item): return ['made', item]")
    def guarded(item): return ["guarded", item]
    with slither.Beam(1, by_value=True) as beam:
        print(*beam.map(here, [1]), *beam.map(guarded, [1]), *beam.map(Guarded(4).get, [0]))
        print(*beam.map(lambda item: here(item) + [counted, Here(5).get()], [1]))
        print(*beam.map(Here(3).get, [0]))
        print(beam.submit(lambda: sys.modules["__main__"].__dict__.get("counted")).result())
        print(*beam.map(made, [1]), *beam.map(twice, [1]), beam.submit(lambda: twice(1)).result())
"""
TYPED = """
import slither
import slither.store
beam = slither.Beam(1, by_value=True)
def helper(item): return item + 1

def f(item): return helper(item)

print(*beam.map(f, [1, 2]))
def helper(item): return item + 10

print(*beam.map(f, [1, 2]))
class Kept:
    def get(self, item): return item * 2


print(*beam.map(Kept().get, [4]))
beam.close()
"""


class TestMain:
    def test_what_a_script_has_goes_by_name_and_the_rest_by_value(
        self, escript: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "script.py").write_text(SCRIPT)
        assert ran([str(tmp_path / "script.py")]) == [
            "[1, '__main__'] ['guarded', 1] 4",
            "[1, '__main__', 2, 5]",
            "3",
            "1",
            "['made', 1] of the program alone of the program alone",
        ]

    @pytest.mark.parametrize("how", [["-"], ["-i"], ["-c", TYPED]])
    def test_what_is_typed_goes_by_value(self, escript: Path, how: list[str]) -> None:
        assert ran(how, TYPED) == ["2 3", "11 12", "8"]

    def test_what_is_typed_after_a_script_goes_by_value(
        self, escript: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "before.py").write_text("def old(item): return ['old', item]\n")
        typed = TYPED.replace("beam.close()", "print(*beam.map(old, [1]))\nbeam.close()")
        done = ran(["-i", str(tmp_path / "before.py")], typed)
        assert done == ["2 3", "11 12", "8", "['old', 1]"]


def ran(how: list[str], typed: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, *how],
        input=typed,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    return done.stdout.splitlines()


class TestExceptions:
    def test_of_a_class_that_only_this_process_has_are_what_they_were(
        self, beam: slither.Beam
    ) -> None:
        class LocalError(Exception):
            def __init__(self, code: int, *, more: object) -> None:
                super().__init__(code)
                self.more = more

        def go() -> None:
            try:
                raise KeyError("first")
            except KeyError as first:
                raise LocalError(5, more={1, (2, 3)}) from first

        with pytest.raises(LocalError) as caught:
            beam.submit(go).result(PATIENCE)
        assert (caught.value.args, caught.value.more) == ((5,), {1, (2, 3)})
        assert isinstance(caught.value.__cause__, KeyError)
        assert "raise LocalError(5" in str(caught.value.__cause__.__cause__)
        [returned] = beam.map(lambda _item: go(), [1], on_error="return")
        assert isinstance(returned, LocalError)
        with pytest.raises(LocalError):
            list(beam.map(lambda _item: go(), [1]))

    def test_that_cannot_be_opened_are_told_of(self, beam: slither.Beam) -> None:
        class LocalError(Exception):
            def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
                return _refuse, ("on purpose",)

        def go() -> None:
            raise LocalError("what it says")

        with pytest.raises(slither.HandlerError, match="LocalError: what it says"):
            beam.submit(go).result(PATIENCE)

    def test_that_end_an_iteration_do_not_end_a_map(self, beam: slither.Beam) -> None:
        class LocalStop(StopIteration):
            pass

        def go(_item: int) -> None:
            raise LocalStop

        with pytest.raises(slither.HandlerError, match="LocalStop"):
            list(beam.map(go, [1]))


class TestMemory:
    def test_nobody_keeps_an_object_whose_method_was_called(self, beam: slither.Beam) -> None:
        counter = Counter()
        gone = weakref.ref(counter)
        with slither.Executor(beam=beam) as executor:
            assert executor.submit(counter.add, 1).result(PATIENCE) == 1
            assert list(executor.map(counter.add, [1, 2])) == [1, 2]
            assert list(beam.map(counter.add, [1], each=True)) == [1]
        del counter
        gc.collect()
        assert gone() is None

    def test_nobody_keeps_a_result_that_was_given(self, beam: slither.Beam) -> None:
        with slither.Executor(beam=beam) as executor:
            for made in executor.map(lambda _item: Counter(), range(6), chunksize=3):
                gone = weakref.ref(made)
                del made
                gc.collect()
                assert gone() is None


def test_proxies_of_a_manager_work(beam: slither.Beam) -> None:
    with multiprocessing.Manager() as manager:
        event, queue = manager.Event(), manager.Queue()

        def go() -> None:
            queue.put(7)
            event.set()

        done = beam.submit(go)
        assert event.wait(PATIENCE)
        assert queue.get() == 7
        done.result(PATIENCE)


def test_people_read_a_functions_name_without_its_key(
    escript: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with slither.Beam(1, by_value=True) as beam:
        gate = beam.table("gate")

        def wait() -> None:
            table = slither.store.table("gate")
            table["begun"] = 1
            while "go" not in table:
                pass

        running = beam.submit(wait)
        while "begun" not in gate:
            pass
        [worker] = beam.stacks()
        assert worker[
            "call"
        ] == "test_by_value.test_people_read_a_functions_name_without_its_key" + (
            ".<locals>.wait"
        )
        gate["go"] = 1
        running.result(PATIENCE)
        with pytest.raises(slither.WorkerDied):
            list(beam.map(lambda _item: _die(), [1]))
        beam.submit(len, "a").result(PATIENCE)
    died = [record.getMessage() for record in caplog.records if "died" in record.getMessage()]
    assert died
    assert all("@" not in message for message in died)
    assert "it ran test_by_value.test_people" in died[0]
