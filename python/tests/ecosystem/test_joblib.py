"""joblib, and scikit-learn's n_jobs, on the workers of a Beam."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from conftest import ROOT
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score

import slither
import slither.joblib
from slither._driver import forks
from slither._joblib import beams, crossing, worker

PATIENCE = 120.0


@pytest.fixture(autouse=True, scope="module")
def backend(escript: Path) -> Iterator[None]:
    slither.joblib.register()
    with joblib.parallel_config(backend="slither", n_jobs=2):
        yield
    slither.joblib.close()


class Odd:
    """What the protocol has no type for."""

    def __init__(self, value: int) -> None:
        self.value = value

    def doubled(self) -> Odd:
        return Odd(2 * self.value)


def pid_of(_item: object) -> int:
    return os.getpid()


def pid_and_wait(paths: tuple[str, str]) -> int:
    Path(paths[0], str(os.getpid())).touch()
    while not Path(paths[1]).exists():
        time.sleep(0.001)
    return os.getpid()


def kind_of(array: np.ndarray[Any, Any]) -> tuple[str, float]:
    return type(array).__name__, float(array.sum())


def ends(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 5:
        time.sleep(600)
    return item


def nested(count: int) -> tuple[int, set[int], str]:
    with joblib.parallel_config(backend="slither"):
        inner = Parallel(n_jobs=2)
        found = inner(delayed(pid_of)(n) for n in range(count))
    return os.getpid(), set(found), type(inner._backend).__mro__[1].__name__


def limits() -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def test_calls_of_functions_and_objects_of_any_kind() -> None:
    add = 3
    assert Parallel()(delayed(lambda x: x + add)(n) for n in range(100)) == list(range(3, 103))
    assert Parallel()(delayed(Odd(n).doubled)() for n in range(2))[1].value == 2
    found = Parallel()(delayed(dict)([(np.int8(n), (n, {n}))]) for n in range(2))
    assert found == [{0: (0, {0})}, {1: (1, {1})}]
    assert type(next(iter(found[0]))) is np.int8


def test_generators_give_results_as_they_come() -> None:
    tasks = [delayed(abs)(-n) for n in range(20)]
    assert list(Parallel(return_as="generator")(tasks)) == list(range(20))
    assert sorted(Parallel(return_as="generator_unordered")(tasks)) == list(range(20))


def test_the_workers_stay_from_one_call_to_the_next(tmp_path: Path) -> None:
    def both(folder: Path) -> set[int]:
        """The processes of two calls that run at once."""
        folder.mkdir()
        let = folder.parent / f"{folder.name}-let"
        found: list[int] = []

        def call() -> None:
            tasks = [delayed(pid_and_wait)((str(folder), str(let))) for _ in range(2)]
            found.extend(Parallel(n_jobs=2, backend="slither")(tasks))

        thread = threading.Thread(target=call)
        thread.start()
        while len(list(folder.iterdir())) < 2:
            time.sleep(0.001)
        let.touch()
        thread.join(PATIENCE)
        return set(found)

    assert both(tmp_path / "first") == both(tmp_path / "second")


def test_an_exception_is_what_it_was_and_ends_the_other_calls_alone() -> None:
    class OurError(Exception):
        def __init__(self, code: int, *, odd: Odd) -> None:
            super().__init__(code)
            self.odd = odd

        def __reduce__(self) -> tuple[Callable[..., OurError], tuple[object, ...]]:
            return _made, (self.args[0], self.odd)

    def _made(code: int, odd: Odd) -> OurError:
        return OurError(code, odd=odd)

    def fails(item: int) -> None:
        if item == 0:
            raise OurError(7, odd=Odd(8))
        time.sleep(600)

    began = time.monotonic()
    with pytest.raises(OurError) as caught:
        Parallel()(delayed(fails)(n) for n in range(4))
    assert time.monotonic() - began < PATIENCE
    assert caught.value.args == (7,)
    assert caught.value.odd.value == 8
    assert "in fails" in str(caught.value.__cause__)
    assert Parallel()(delayed(abs)(-n) for n in range(4)) == [0, 1, 2, 3]


def test_an_exception_may_take_what_its_arguments_do_not_say() -> None:
    class NamedError(Exception):
        def __init__(self, code: int, *, where: str) -> None:
            super().__init__(f"{code} in {where}")
            self.code, self.where = code, where

    def fails(item: int) -> None:
        raise NamedError(item, where="here")

    with pytest.raises(NamedError, match="7 in here") as caught:
        Parallel()(delayed(fails)(7) for _ in range(2))
    assert (caught.value.code, caught.value.where) == (7, "here")


def test_what_is_raised_may_be_no_exception() -> None:
    def stop() -> None:
        raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        Parallel()(delayed(stop)() for _ in range(2))


def test_what_cannot_be_pickled_fails_the_call_and_does_not_hang() -> None:
    lock = threading.Lock()
    with pytest.raises(Exception, match="could not pickle the task") as caught:
        Parallel()(delayed(id)(lock if n == 50 else n) for n in range(100))
    assert "lock" in str(caught.value.__cause__)

    def locked() -> threading.Lock:
        return threading.Lock()

    with pytest.raises(TypeError, match="lock"):
        Parallel()(delayed(locked)() for _ in range(2))


def test_a_worker_that_dies_is_the_error_of_its_call() -> None:
    with pytest.raises(slither.WorkerDied, match="signal 9"):
        Parallel(batch_size=1)(delayed(ends)(n) for n in range(5))
    with joblib.parallel_config(backend="slither", n_jobs=2, call_timeout=5):
        began = time.monotonic()
        with pytest.raises(slither.CallTimeout, match="call_timeout=") as caught:
            Parallel()(delayed(ends)(n) for n in range(5, 8))
        assert time.monotonic() - began < PATIENCE
    assert "in ends" in (caught.value.stack or "")


def test_calls_that_are_lost_stand_among_the_results_where_that_is_asked() -> None:
    with joblib.parallel_config(backend="slither", n_jobs=2, call_timeout=5, lost="return"):
        found = Parallel(batch_size=1)(delayed(ends)(n) for n in range(10))
        # A batch goes call by call once its worker has died.
        batches = Parallel(batch_size=5)(delayed(ends)(n) for n in range(10))
    for results in (found, batches):
        assert isinstance(results[3], slither.WorkerDied)
        assert isinstance(results[5], slither.CallTimeout)
        assert results[:3] + results[4:5] + results[6:] == [0, 1, 2, 4, 6, 7, 8, 9]


def test_a_limit_of_the_whole_ends_what_runs() -> None:
    began = time.monotonic()
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.2)(delayed(time.sleep)(600) for _ in range(6))
    # The workers are free for others, those of calls that one held included.
    assert Parallel()(delayed(abs)(n) for n in range(4)) == [0, 1, 2, 3]
    assert time.monotonic() - began < PATIENCE


def test_large_arrays_are_mapped_and_gone_after_the_call(tmp_path: Path) -> None:
    array = np.arange(300_000.0).reshape(300, 1_000)
    with Parallel(temp_folder=str(tmp_path)) as parallel:
        found = parallel(delayed(kind_of)(array) for _ in range(4))
        assert found == [("memmap", float(array.sum()))] * 4
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        # It was written once.
        assert len(list(folder.iterdir())) == 1
        for other in (array.T, np.asfortranarray(array), array[::2, ::-3]):
            (mapped,) = parallel([delayed(kind_of)(other)])
            assert mapped[1] == float(other.sum())
    assert list(tmp_path.iterdir()) == []
    tiny = Parallel(max_nbytes=1)(delayed(kind_of)(np.ones(3)) for _ in range(2))
    assert tiny == [("memmap", 3.0)] * 2
    small = Parallel(max_nbytes=None)(delayed(kind_of)(array) for _ in range(2))
    assert [kind for kind, _sum in small] == ["ndarray", "ndarray"]


def test_an_array_that_comes_again_is_mapped_and_still_ones_own(tmp_path: Path) -> None:
    array = np.zeros(20_000)

    def changed(given: np.ndarray[Any, Any]) -> tuple[str, float, bool]:
        before = float(given.sum())
        given += 1
        return type(given).__name__, before, isinstance(given.base, np.memmap)

    with Parallel(temp_folder=str(tmp_path), batch_size=1) as parallel:
        found = parallel(delayed(changed)(array) for _ in range(6))
        assert [(kind, before) for kind, before, _mapped in found] == [("ndarray", 0.0)] * 6
        assert [mapped for *_, mapped in found] == [False] + [True] * 5
        assert len(list(tmp_path.glob("*/*"))) == 1

        # One that has changed since is sent as it is now.
        array[:] = 3
        found = parallel(delayed(changed)(array) for _ in range(2))
        assert [before for _kind, before, _mapped in found] == [60_000.0] * 2


def test_files_of_arrays_that_nobody_has_go_during_the_call(tmp_path: Path) -> None:
    most = 0

    def arrays() -> Iterator[np.ndarray[Any, Any]]:
        nonlocal most
        for n in range(240):
            most = max(most, sum(1 for _ in tmp_path.glob("*/*")))
            yield np.full(10_000, n)

    parallel = Parallel(temp_folder=str(tmp_path), max_nbytes=1, batch_size=1)
    assert [n for _kind, n in parallel(delayed(kind_of)(a) for a in arrays())] == [
        10_000.0 * n for n in range(240)
    ]
    assert 0 < most < 160


def test_arrays_of_files_go_by_name(tmp_path: Path) -> None:
    whole = np.memmap(tmp_path / "data", np.int32, "w+", shape=(100, 50))
    whole[:] = np.arange(5_000).reshape(100, 50)
    whole.flush()
    views = [whole, whole[10:20], whole[:, ::7], whole[::-2, ::-3], whole.T, whole[3]]

    found = Parallel()(delayed(np.ndarray.tolist)(view) for view in views)
    assert found == [view.tolist() for view in views]

    def write(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        array[0, 0] = 77
        return array

    back = Parallel()([delayed(write)(whole)])[0]
    assert whole[0, 0] == 77
    assert isinstance(back, np.memmap)
    assert str(back.filename) == str(whole.filename)


def test_large_jobs_and_results_go_through_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossing, "SPILL", 1_000)
    text = "x" * 1_000_000
    # The workers have the limit that they were started with.
    with Parallel(temp_folder=str(tmp_path)) as parallel:
        assert parallel(delayed(len)(text) for _ in range(3)) == [1_000_000] * 3
        assert [p for folder in tmp_path.iterdir() for p in folder.iterdir()] == []
    big = Parallel()(delayed(bytes)(40 << 20) for _ in range(2))
    assert [len(found) for found in big] == [40 << 20] * 2


def test_folders_of_programs_that_were_killed_are_removed(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "from slither._joblib.folder import Folder\n"
        f"folder = Folder({str(tmp_path)!r})\n"
        "print(folder.path(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, stdout=subprocess.PIPE, text=True
    )
    left = Path(done.stdout.strip())
    assert left.is_dir()
    Parallel(temp_folder=str(tmp_path))(delayed(abs)(n) for n in range(2))
    assert not left.exists()


def test_calls_in_a_worker_run_in_its_threads() -> None:
    for process, inner, kind in Parallel()(delayed(nested)(4) for _ in range(2)):
        assert inner == {process}
        assert kind == "ThreadingBackend"


def test_threads_of_the_program_share_the_workers() -> None:
    found = []

    def call() -> None:
        found.append(Parallel(n_jobs=2, backend="slither")(delayed(pid_of)(n) for n in range(9)))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 3
    assert len({pid for pids in found for pid in pids}) <= 2


def test_workers_limit_the_threads_of_libraries() -> None:
    cores = max(joblib.cpu_count() // 2, 1)
    assert Parallel()(delayed(limits)() for _ in range(2)) == [str(cores)] * 2
    with joblib.parallel_config(backend="slither", n_jobs=2, inner_max_num_threads=3):
        assert Parallel()(delayed(limits)() for _ in range(2)) == ["3", "3"]


def test_a_job_is_opened_by_the_workers_of_its_program_alone(beam: slither.Beam) -> None:
    sealed = crossing.seal(crossing.dumps(print)[0], b"another key" * 2)
    future = beam.submit(worker.run, sealed, None)
    with pytest.raises(slither.DecodeError, match="this worker runs no jobs of joblib"):
        future.result(PATIENCE)
    Parallel()(delayed(abs)(n) for n in range(2))
    (kept,) = [kept for kept in beams._kept.values() if kept.serves()][:1]
    future = kept.beam.submit(worker.run, sealed, None)
    with pytest.raises(slither.DecodeError, match="was not made by the program"):
        future.result(PATIENCE)


def test_options_are_looked_at_where_they_are_given() -> None:
    with pytest.raises(TypeError, match=r"unknown option 'call_timeot'. Did you mean"):
        joblib.parallel_config(backend="slither", call_timeot=3)
    with pytest.raises(ValueError, match="call_timeout is a number of seconds above 0"):
        joblib.parallel_config(backend="slither", call_timeout=-3)
    with pytest.raises(ValueError, match="lost is 'raise' or 'return', not 'skip'"):
        joblib.parallel_config(backend="slither", lost="skip")
    with pytest.raises(TypeError, match="initializer is a function"):
        Parallel(initializer=3)(delayed(abs)(n) for n in range(2))


class Trying(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier some of whose settings do not end well."""

    def __init__(self, how: str = "fine") -> None:
        self.how = how

    def fit(self, data: Any, target: Any) -> Trying:
        if self.how == "hangs":
            time.sleep(600)
        if self.how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raises":
            raise ValueError("no such setting")
        self.classes_ = np.unique(target)
        return self

    def predict(self, data: Any) -> Any:
        return np.full(len(data), self.classes_[0])


def test_a_search_gives_what_it_gives_without() -> None:
    data, target = load_digits(return_X_y=True)
    settings = {"C": [0.01, 0.1, 1.0], "max_iter": [3, 10]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(LogisticRegression(), settings, cv=3).fit(data, target)
        with joblib.parallel_config(backend="sequential"):
            plain = GridSearchCV(LogisticRegression(), settings, cv=3).fit(data, target)
    assert search.best_params_ == plain.best_params_
    for name in ("mean_test_score", "params"):
        assert list(search.cv_results_[name]) == list(plain.cv_results_[name])
    forest = RandomForestClassifier(20, random_state=0).fit(data, target)
    with joblib.parallel_config(backend="sequential"):
        assert (
            RandomForestClassifier(20, random_state=0).fit(data, target).predict(data)
            == forest.predict(data)
        ).all()
    assert len(cross_val_score(RandomForestClassifier(3), data, target, cv=3)) == 3


def test_fits_of_a_search_that_hang_or_die_have_failed_and_the_others_go_on() -> None:
    data, target = np.zeros((40, 2)), np.arange(40) % 2
    search = GridSearchCV(Trying(), {"how": ["fine", "hangs", "dies", "raises"]}, cv=2)
    with (
        joblib.parallel_config(backend="slither", n_jobs=2, call_timeout=5),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        search.fit(data, target)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] == 0.5
    assert np.isnan(scores[1:]).all()
    assert search.best_params_ == {"how": "fine"}
    (told,) = [str(one.message) for one in caught if one.category is FitFailedWarning]
    assert "6 fits failed out of a total of 8" in told
    # The stack of what hung, and what ended the other.
    assert " in fit" in told
    assert "call_timeout" in told
    assert "killed by signal 9" in told
    assert "ValueError: no such setting" in told


def test_a_fit_that_is_lost_is_raised_where_the_search_asks_for_that() -> None:
    data, target = np.zeros((40, 2)), np.arange(40) % 2
    search = GridSearchCV(Trying(), {"how": ["fine", "dies"]}, cv=2, error_score="raise")
    with pytest.raises(slither.WorkerDied, match="signal 9"):
        search.fit(data, target)


def test_the_guides_search_prints_what_is_shown(escript: Path, tmp_path: Path) -> None:
    text = (ROOT / "guides" / "values.md").read_text()
    found = re.search(
        r"^```python\n(# guide_search\.py\n.*?)^```\n+^```text\n(.*?)^```", text, re.M | re.S
    )
    assert found is not None
    (tmp_path / "guide_search.py").write_text(found[1])
    command = [sys.executable, "guide_search.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == found[2], done.stderr


def test_filters_of_warnings_can_be_copied(beam: slither.Beam) -> None:
    forks.know(beam._link)
    (ours,) = [entry[1] for entry in warnings.filters if entry[1] is forks.no_warning[1]]
    warnings.filterwarnings("ignore", message=ours.pattern)
    assert pickle.loads(pickle.dumps(ours)).match("This process is multi-threaded") is None
