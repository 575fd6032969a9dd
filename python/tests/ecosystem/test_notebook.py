"""A Beam in a notebook: cells that the real client of Jupyter runs, in a kernel of its own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

# What the packages of Jupyter warn of.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("escript")]

PATIENCE = 60
# Seconds in which all must be gone that a kernel leaves.
GONE_WITHIN = 2.0
START = """
import os, sys, time
import slither
beam = slither.Beam(workers=2, by_value=True)
"""

T = TypeVar("T")


class Notebook:
    """A notebook whose cells run one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        make: Any = nbformat.v4
        self._new_cell = make.new_code_cell
        resources = {"metadata": {"path": str(folder)}}
        self._client = NotebookClient(
            make.new_notebook(), timeout=PATIENCE, kernel_name="python3", resources=resources
        )
        self._kernel = self._client.async_setup_kernel()

    def __enter__(self) -> Notebook:
        self._wait(self._kernel.__aenter__())
        return self

    def __exit__(self, *_of: object) -> None:
        self._wait(self._kernel.__aexit__(None, None, None))
        self._loop.close()

    def run(self, source: str) -> Any:
        """Run a cell, and return its outputs."""
        return self._wait(self._run(source))

    def printed(self, source: str) -> str:
        """Run a cell, and return what it printed."""
        return "".join(out.text for out in self.run(source) if out.get("name") == "stdout")

    def interrupt(self, source: str) -> str:
        """Run a cell, interrupt it once it has made the file ``marker``, and return its error."""
        marker = self.folder / "marker"
        marker.unlink(missing_ok=True)

        async def run() -> str:
            cell = asyncio.ensure_future(self._run(source))
            while not (marker.exists() or cell.done()):
                await asyncio.sleep(0.01)
            manager: Any = self._client.km
            await manager.interrupt_kernel()
            with pytest.raises(CellExecutionError) as caught:
                await cell
            return str(caught.value.ename)

        return self._wait(run())

    async def _run(self, source: str) -> Any:
        cells = self._client.nb.cells
        cells.append(self._new_cell(source))
        cell = await self._client.async_execute_cell(cells[-1], len(cells) - 1)
        return cell.outputs

    def _wait(self, what: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(what, 2 * PATIENCE))


@pytest.fixture(scope="module")
def notebook(escript: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    with Notebook(tmp_path_factory.mktemp("notebook")) as started:
        started.run(START)
        yield started


def test_functions_of_cells_go_to_the_workers(notebook: Notebook) -> None:
    notebook.run("factor = 3\ndef times(n):\n    return factor * n")
    assert notebook.printed("print(*beam.map(times, range(4)))") == "0 3 6 9\n"
    assert notebook.printed("print(*beam.map(lambda n: n + factor, [1, 2]))") == "4 5\n"
    assert notebook.printed("print(beam.submit(times, 5).result())") == "15\n"
    awaited = "print([n async for n in beam.amap(times, [1, 2])])"
    assert notebook.printed(awaited) == "[3, 6]\n"


def test_an_edited_cell_is_the_new_code_at_the_next_call(notebook: Notebook) -> None:
    notebook.run("unit = 'm'\ndef shown(n):\n    return f'{n} {unit}'")
    call = "print(*beam.map(shown, [1]), beam.submit(shown, 2).result())"
    assert notebook.printed(call) == "1 m 2 m\n"
    notebook.run("def shown(n):\n    return f'{n}, in {unit}'")
    assert notebook.printed(call) == "1, in m 2, in m\n"
    notebook.run("unit = 'km'")
    assert notebook.printed(call) == "1, in km 2, in km\n"


def test_objects_of_classes_of_cells_come_back_as_what_they_were(notebook: Notebook) -> None:
    notebook.run(
        "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int\n"
        "def moved(point):\n    return Point(point.x + 1)"
    )
    call = "print(*beam.map(moved, [Point(1)]), beam.submit(moved, Point(2)).result())"
    assert notebook.printed(call) == "Point(x=2) Point(x=3)\n"
    assert notebook.printed("print(type(beam.submit(moved, Point(1)).result()) is Point)") == (
        "True\n"
    )
    notebook.run("class Point:\n    def __init__(self, x): self.x = x\n")
    notebook.run("def moved(point):\n    return Point(-point.x)")
    assert notebook.printed("print(beam.submit(moved, Point(5)).result().x)") == "-5\n"


def test_a_module_beside_the_notebook_is_found(notebook: Notebook) -> None:
    (notebook.folder / "beside.py").write_text("def half(n):\n    return n / 2\n")
    assert notebook.printed("import beside\nprint(*beam.map(beside.half, [4]))") == "2.0\n"


def test_what_workers_print_is_in_the_cell_that_waits(notebook: Notebook) -> None:
    assert notebook.printed("_ = list(beam.map(print, ['one']))") == "one\n"
    assert notebook.printed("beam.submit(print, 'two').result()") == "two\n"


def test_an_exception_is_that_of_the_cell(notebook: Notebook) -> None:
    notebook.run("class Odd(Exception): pass\ndef fail(n):\n    raise Odd(n)")
    source = (
        "try:\n    list(beam.map(fail, [7]))\nexcept Odd as error:\n    print('caught', error)"
    )
    assert notebook.printed(source) == "caught 7\n"


def test_progress_shows_in_the_cell_and_is_drawn_over(notebook: Notebook) -> None:
    shown, printed = notebook.run(
        "rows = beam.map(time.sleep, [0.02] * 40, batch_size=1, progress=True)\n"
        "print(len(list(rows)))"
    )
    assert printed.text == "40\n"
    # One output, of which the client has the last state.
    assert shown.data["text/plain"].startswith("sleep: done: 40 of 40 in, results 40, ")
    assert '<progress value="40" max="40">' in shown.data["text/html"]


def test_progress_of_a_pipe_and_of_an_input_without_a_length(notebook: Notebook) -> None:
    notebook.run("pipe = slither.Pipe('negated').python('neg', 'operator:neg', each=True)")
    shown, printed = notebook.run(
        "found = beam.run(pipe, (n for n in range(9)), progress=True)\n"
        "print(sum(found['default']))"
    )
    assert printed.text == "-36\n"
    assert shown.data["text/plain"].startswith("negated: done: 9 in, ")
    assert '<progress value="9" max="9">' in shown.data["text/html"]
    shown, _printed = notebook.run("print(sum(beam.map(lambda n: n, range(9), progress=True)))")
    assert '<progress value="9" max="9">' in shown.data["text/html"]
    assert "&lt;lambda&gt;: done: 9 of 9 in, " in shown.data["text/html"]


def test_an_interrupt_ends_the_cell_and_the_beam_goes_on(notebook: Notebook) -> None:
    items = "def items():\n    yield 600\n    open('marker', 'w').close()\n    yield 600\n"
    before = notebook.printed("print(beam._link.facts['pid'])")
    for body in (
        "list(beam.map(time.sleep, items(), batch_size=1))",
        "list(beam.map(time.sleep, items(), batch_size=1, progress=True))",
        "beam.run(slither.Pipe('naps').python('nap', time.sleep, each=True), items())",
    ):
        assert notebook.interrupt(items + body) == "KeyboardInterrupt"
        assert notebook.printed("print(*beam.map(abs, [-1, 2]))") == "1 2\n"
    assert notebook.printed("print(beam._link.facts['pid'])") == before


def test_an_interrupt_ends_a_cell_that_awaits_results(notebook: Notebook) -> None:
    # The kernel looks for an interrupt when its event loop wakes, as it does for each result.
    source = (
        "import itertools\n"
        "async for _ in beam.amap(time.sleep, itertools.repeat(0.02), batch_size=1):\n"
        "    open('marker', 'w').close()"
    )
    assert notebook.interrupt(source) == "CancelledError"
    assert notebook.printed("print(*beam.map(abs, [-1, 2]))") == "1 2\n"


def test_an_interrupt_leaves_a_call_that_can_be_waited_for_again(notebook: Notebook) -> None:
    notebook.run(
        "def wait_for(path):\n"
        "    open('marker', 'w').close()\n"
        "    while not os.path.exists(path):\n"
        "        time.sleep(0.01)\n"
        "    return path"
    )
    assert notebook.interrupt("call = beam.submit(wait_for, 'gate')\ncall.result()") == (
        "KeyboardInterrupt"
    )
    assert notebook.printed("print(*beam.map(abs, [-1, 2]))") == "1 2\n"
    source = "open('gate', 'w').close()\nprint(call.result())"
    assert notebook.printed(source) == "gate\n"


def test_without_code_by_value_an_error_says_how(notebook: Notebook) -> None:
    source = (
        "def here(n): return n\n"
        "with slither.Beam(workers=1) as plain:\n"
        "    try:\n"
        "        list(plain.map(here, [1]))\n"
        "    except slither.NotImportable as error:\n"
        "        print(error)"
    )
    assert "by_value=True" in notebook.printed(source)


def test_a_cell_that_starts_a_beam_again_ends_the_one_before(notebook: Notebook) -> None:
    start = "again = slither.Beam(workers=1)\nprint(again._link.facts['pid'])"
    first = notebook.printed(start).strip()
    second = notebook.printed(start).strip()
    await_gone([first], PATIENCE)
    assert os.path.exists(f"/proc/{second}")
    notebook.run("again.close()")


def await_gone(pids: list[str], within: float) -> None:
    until = time.monotonic() + within
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < until, pids
        os.sched_yield()


def test_nothing_is_left_when_the_kernel_is_restarted(tmp_path: Path, escript: Path) -> None:
    with Notebook(tmp_path) as notebook:
        notebook.run(START)
        pids = notebook.printed(
            "list(beam.map(abs, range(4)))\n"
            "print(beam._link.facts['pid'], *[w['pid'] for w in beam.status()['workers']])"
        ).split()
    assert len(pids) == 3
    await_gone(pids, GONE_WITHIN)
