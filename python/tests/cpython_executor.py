"""CPython's own tests of executors, run against :class:`slither.Executor`.

``scripts/cpython-executor FILE`` runs this with CPython's ``Lib/test/test_concurrent_futures.py``
of 3.10 or 3.11, which is no part of Slither. It fails where a test fails that is not among those
that differ, or where one of those passes.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import os
import re
import shutil
import sys
import tempfile
import textwrap
import types
import unittest
from pathlib import Path
from typing import Any

import slither

NAME = "cpython_futures"
SUITES = (
    "InitializerMixin",
    "FailingInitializerMixin",
    "ProcessPoolShutdownTest",
    "WaitTests",
    "AsCompletedTests",
    "ExecutorTest",
    "ProcessPoolExecutorTest",
    "ExecutorDeadlockTest",
)
PARTS = "it looks at processes, threads and queues that are parts of ProcessPoolExecutor"
SHARED = "a semaphore of multiprocessing goes to children alone, which workers are not"
QUEUE = "a queue of multiprocessing goes to children alone"
OWN = "what can't be pickled, or made again, fails its own call, and the pool goes on"
DIFFERS = {
    "FailingInitializerMixin.test_initializer": QUEUE,
    "ProcessPoolShutdownTest.test_processes_terminate": SHARED,
    "ProcessPoolShutdownTest.test_context_manager_shutdown": PARTS,
    "ProcessPoolShutdownTest.test_del_shutdown": PARTS,
    "ProcessPoolShutdownTest.test_shutdown_no_wait": PARTS,
    "ProcessPoolExecutorTest.test_killed_child": PARTS,
    "ProcessPoolExecutorTest.test_idle_process_reuse_one": PARTS,
    "ProcessPoolExecutorTest.test_idle_process_reuse_multiple": PARTS,
    "ProcessPoolExecutorTest.test_saturation": SHARED,
    "ProcessPoolExecutorTest.test_traceback": "the cause is a RemoteTraceback of ours",
    "ProcessPoolExecutorTest.test_max_tasks_per_child": PARTS,
    "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": PARTS,
    "ExecutorDeadlockTest.test_error_at_task_pickle": f"{OWN}: slither.EncodeError",
    "ExecutorDeadlockTest.test_error_during_result_pickle_on_worker": f"{OWN}: EncodeError",
    "ExecutorDeadlockTest.test_exit_during_result_pickle_on_worker": f"{OWN}: EncodeError",
    "ExecutorDeadlockTest.test_error_at_task_unpickle": f"{OWN}: the exception itself",
    "ExecutorDeadlockTest.test_exit_at_task_unpickle": f"{OWN}: the exception itself",
    "ExecutorDeadlockTest.test_error_during_result_unpickle_in_result_handler": (
        f"{OWN}: slither.DecodeError"
    ),
    "ExecutorDeadlockTest.test_exit_during_result_unpickle_in_result_handler": (
        f"{OWN}: slither.DecodeError"
    ),
    "ExecutorDeadlockTest.test_shutdown_deadlock_pickle": PARTS,
}


def main(path: str) -> int:
    """Run the tests of a file, and return how this program is to end."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, Path(folder) / f"{NAME}.py")
        sys.path.insert(0, folder)
        tests = __import__(NAME)
        adapt(tests, folder)
        suite = unittest.TestSuite()
        for name in SUITES:
            suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(made(tests, name)))
        names = {short(test) for test in suite}
        result = unittest.TextTestRunner(verbosity=2).run(suite)
    return told(result, names)


def adapt(tests: Any, folder: str) -> None:
    """Have the tests name our executor where they name the library's."""
    space = types.SimpleNamespace(**vars(concurrent.futures))
    space.ProcessPoolExecutor, space.process = slither.Executor, concurrent.futures.process
    space.TimeoutError = concurrent.futures.TimeoutError
    for name in ("wait", "as_completed", "FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"):
        setattr(space, name, getattr(concurrent.futures, name))
    tests.futures = space
    run, start = tests.assert_python_ok, f"import sys; sys.path[:0] = {[folder, *sys.path]!r}\n"

    def assert_python_ok(*arguments: str, **variables: str) -> object:
        flag, script = arguments
        script = textwrap.dedent(script).replace("test.test_concurrent_futures", NAME)
        script = script.replace("from concurrent.futures import", "from slither import")
        return run(flag, start + script, **variables)

    tests.assert_python_ok = assert_python_ok


def made(tests: Any, name: str) -> type[unittest.TestCase]:
    """Return the tests of one kind, with our executor."""
    space = {"executor_type": slither.Executor, "ctx": "spawn"}
    mixin = type("SlitherMixin", (tests.ExecutorMixin,), space)
    bases = (getattr(tests, name), mixin, tests.BaseTestCase)
    return type(name, bases, {"__module__": NAME, "__qualname__": f"Slither{name}"})


def told(result: unittest.TestResult, names: set[str]) -> int:
    """Tell what has become of the tests; 1 where that is not what is expected."""
    failed = {short(test) for test, _ in [*result.failures, *result.errors]}
    skipped = {short(test) for test, _ in result.skipped}
    new, over = failed - DIFFERS.keys(), (names & DIFFERS.keys()) - failed - skipped
    ran = result.testsRun - len(result.skipped)
    print(
        f"\n{ran - len(failed)} of {ran} pass, {len(failed)} fail, {len(result.skipped)} skipped"
    )
    for name in sorted(failed & DIFFERS.keys()):
        print(f"  differs: {name}: {DIFFERS[name]}")
    for name in sorted(new):
        print(f"  FAILS: {name}")
    for name in sorted(over):
        print(f"  PASSES, and is listed: {name}")
    return 1 if new or over else 0


def short(test: Any) -> str:
    """Return the name of a test as it is listed."""
    return re.sub(r"^.*Slither", "", str(test.id()))


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    raise SystemExit(main(sys.argv[1]))
