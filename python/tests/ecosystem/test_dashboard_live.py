"""The dashboard of a program that runs, in a real browser: what happens there is soon seen."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import snapshots
import watched
from playwright.sync_api import Page, expect
from viewer import Viewer

import slither
from slither import Pipe, item

pytestmark = pytest.mark.usefixtures("escript")

# ms within which what happens must be seen on a machine that others use as well.
SEEN = 30_000

ratings = (
    Pipe("ratings")
    .beam("trim", {"text": item["text"], "does": item.get("does"), "gate": item.get("gate")})
    .python("clean", watched.clean, batch_size=16)
    .python("score", watched.score, batch_size=8, max_in_flight=6, timeout=120)
    .route("route", good=item["score"] >= 0.7)
    .output("good")
    .on_error("score", "skip")
)


class Program:
    """A Beam with a pipe that flows until it is left, and what goes into it."""

    def __init__(self, folder: Path) -> None:
        self.gate = folder / "gate"
        self.gate.touch()
        self._lock = self.gate.open()
        self.beam = slither.Beam(2, dashboard=0)
        self._next: list[watched.Row] = []
        self._hangs = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def url(self) -> str:
        assert self.beam.dashboard is not None
        return self.beam.dashboard

    def snapshot(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}snapshot") as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def fail(self) -> None:
        """Have one call fail."""
        self._next.append({"text": "n/a", "does": "fail"})

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Have all calls hang meanwhile."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._hangs.set()
        try:
            yield
        finally:
            self._hangs.clear()
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _rows(self) -> Iterator[watched.Row]:
        for number in itertools.count():
            if self._ended.is_set():
                return
            if self._hangs.is_set():
                yield {"text": "model-7", "does": "hang", "gate": str(self.gate)}
            else:
                yield self._next.pop() if self._next else {"text": f"row {number % 1000}"}

    def _run(self) -> None:
        for _ in self.beam.stream(ratings, self._rows()):
            pass

    def __enter__(self) -> Program:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()
        self.beam.close()
        self._lock.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("watched")) as program:
        yield program


@pytest.fixture
def page(program: Program, view: Callable[..., Viewer]) -> Page:
    return view(program.url).look()


def test_a_running_pipe_is_seen(program: Program, page: Page) -> None:
    expect(page.locator("#word")).to_have_text("Flowing", timeout=SEEN)
    expect(page.locator("#rest")).to_have_text(re.compile(r"^[\d.]+ k? ?items/s"))
    graph = page.get_by_role("list", name="Graph of ratings")
    expect(graph.locator(".stage strong")).to_have_text(["trim", "clean", "score", "route"])
    expect(graph.locator(".stage", has_text="score")).to_contain_text("pool default")
    expect(graph.locator(".end")).to_have_text(["in", "default", "good"])
    expect(graph.locator(".stage[data-narrowest]")).to_contain_text("score", timeout=SEEN)
    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator(".card", has_text="watched.score").first).to_be_visible(timeout=SEEN)
    page.get_by_text("Where the time goes").click()
    expect(page.locator(".times tbody th")).to_contain_text(["clean", "score"])


def test_hung_calls_and_their_stack_are_seen(program: Program, page: Page) -> None:
    with program.hanging():
        expect(page.locator("#word")).to_have_text("Waiting", timeout=SEEN)
        expect(page.locator("#rest")).to_contain_text("pool default has had no free worker for")
        expect(page.locator("#rest")).to_contain_text("2 of 2 run watched.score since")
        card = page.locator(".card").first
        expect(card).to_contain_text("watched.score")
        expect(card).to_contain_text(re.compile(r"of (119|120|2).(s|min)"))
        expect(card).to_contain_text("asking model-7")
        card.get_by_role("button").click()
        expect(page.locator("#stack")).to_contain_text("in wait_for_model", timeout=SEEN)
        expect(page.locator("#worker-facts")).to_contain_text("ratings / score")
        page.keyboard.press("Escape")
    # What is waited for comes, and all flows on.
    expect(page.locator("#word")).to_have_text("Flowing", timeout=SEEN)
    expect(page.locator("#told")).to_contain_text("Flowing")


def test_a_killed_worker_and_its_replacement_are_seen(program: Program, page: Page) -> None:
    worker = program.snapshot()["pools"][0]["workers"][1]
    os.kill(worker["os_pid"], signal.SIGKILL)
    died = page.locator("#happenings li", has_text=f"{worker['os_pid']}").first
    expect(died).to_contain_text("death", timeout=SEEN)
    newest = page.locator("#happenings li").first
    expect(newest).to_contain_text("start", timeout=SEEN)
    expect(newest).not_to_contain_text(f"{worker['os_pid']}")
    page.get_by_role("button", name="Stack of default 1").click()
    facts = page.locator("#worker-facts")
    expect(facts).to_contain_text("process")
    expect(facts).not_to_contain_text(f"{worker['os_pid']}")


def test_a_failure_is_seen_with_its_traceback(program: Program, page: Page) -> None:
    program.fail()
    group = page.locator(".group", has_text="ValueError")
    expect(group).to_contain_text("not a number: 'n/a'", timeout=SEEN)
    expect(group).to_contain_text("stage score of ratings")
    if not group.locator("details").evaluate("it => it.open"):
        group.locator("summary").click()
    expect(group.locator("pre")).to_contain_text("watched.py")
    expect(group.locator("pre")).to_contain_text("in one_score")
    expect(page.locator("#failing-count")).to_be_visible()


def test_a_snapshot_has_what_the_page_reads(program: Program, page: Page) -> None:
    """Else its other tests would say nothing: they are of snapshots that are made up."""
    expect(page.locator(".group")).not_to_have_count(0, timeout=SEEN)
    for made in (snapshots.healthy(), snapshots.failing()):
        # What a finding is about is told where it is about something.
        made["verdict"]["evidence"] = []
        assert lacking(made, program.snapshot()) == []


def lacking(made: Any, real: Any, where: str = "") -> list[str]:
    """Keys that the one has and the other has not, in the first of each list as well."""
    if isinstance(made, dict) and isinstance(real, dict):
        missing = [f"{where}.{key}" for key in made.keys() - real.keys()]
        deeper = (lacking(made[key], real[key], f"{where}.{key}") for key in made if key in real)
        return [*missing, *itertools.chain.from_iterable(deeper)]
    if isinstance(made, list) and isinstance(real, list) and made and real:
        return lacking(made[0], real[0], where)
    return []


def test_an_end_of_the_program_is_seen(tmp_path: Path, view: Callable[..., Viewer]) -> None:
    with Program(tmp_path) as program:
        viewer = view(program.url)
        page = viewer.look()
        expect(page.locator(".card")).to_have_count(2, timeout=SEEN)
    expect(page.locator("h1")).to_contain_text("the program has not answered", timeout=SEEN)
    viewer.wrong.clear()
