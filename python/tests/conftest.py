from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from peer import Worker

import slither
from slither._wire import codec

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from viewer import Served, Viewer

ROOT = Path(__file__).parents[2]

# Workers and scripts are processes of their own: they must find the package too.
os.environ["PYTHONPATH"] = str(ROOT / "python")

# A shell has what it starts in the background ignore Ctrl-C, and so would the scripts of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Only workers import it: a process has one pair of functions for sessions that move.
collect_ignore = ["session_handlers.py"]


# What a test takes that starts a BEAM.
_BEAM = {"escript", "slither_beam"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-beam", action="store_true", help="only the tests that start no BEAM"
    )
    parser.addoption(
        "--share", metavar="FOLDER", help="leave out modules that another run has begun"
    )
    parser.addoption("--backwards", action="store_true", help="begin with the last module")


def pytest_configure(config: pytest.Config) -> None:
    # What is used beside Slither is not installed where only the part without BEAM runs.
    if config.getoption("--without-beam"):
        names = (
            "tests/ecosystem",
            "slither/_joblib",
            "slither/joblib.py",
            "slither/_worker/sdk.py",
        )
        beside = [ROOT / "python" / name for name in names]
        config.option.ignore = [*(config.option.ignore or []), *map(str, beside)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # A test that starts a BEAM and does not say so would start whatever was built before, or fail
    # where only the part without BEAM runs.
    if _BEAM.intersection(getattr(item, "fixturenames", ())):
        os.environ.pop("SLITHER_ESCRIPT", None)
    else:
        os.environ["SLITHER_ESCRIPT"] = "the fixture escript, which this test does not take"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--backwards"):
        place = {path: n for n, path in enumerate(dict.fromkeys(item.path for item in items))}
        items.sort(key=lambda item: -place[item.path])
    if not config.getoption("--without-beam"):
        return
    needs = [item for item in items if _BEAM.intersection(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=needs)
    items[:] = [item for item in items if item not in needs]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    # Two runs with one folder, of which one goes backwards, share the tests out (`scripts/test`).
    shared = item.config.getoption("--share")
    if not shared or item.path in _mine:
        return None
    mark = Path(shared, str(item.path.relative_to(ROOT)).replace(os.sep, "+"))
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return True
    _mine.add(item.path)
    return None


_mine: set[Path] = set()


@pytest.fixture(scope="module", params=["msgpack", "msgspec"])
def decoders(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a module's tests once with each decoder, as `usefixtures` asks for."""
    before = vars(codec._fast).copy()
    if request.param == "msgspec":
        codec._fast.load()
        codec._fast.pause = 0
        assert codec._fast.decode is not None
    else:
        codec._fast.decode, codec._fast.after = None, 0
    yield
    vars(codec._fast).clear()
    vars(codec._fast).update(before)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started.ready()


@pytest.fixture(scope="session")
def escript(request: pytest.FixtureRequest) -> Path:
    """The BEAM side as it stands in this checkout; built once by runs that share."""
    built = ROOT / "_build" / "slither.escript"
    shared = request.config.getoption("--share")
    if not shared:
        build()
        return built
    with Path(shared, "escript").open("a+") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        # The other may have built since this was opened, and runs by now what it built.
        if not note.seek(0, os.SEEK_END):
            build()
            note.write("built")
    return built


def build() -> None:
    command = ["mix", "escript.build"]
    environment = {**os.environ, "MIX_ENV": "prod", "LANG": "C.UTF-8"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def beam(escript: Path) -> Iterator[slither.Beam]:
    with slither.Beam(workers=2) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        why = "Chromium is not on PATH: apt install chromium"
        # `scripts/test` tells somebody who may not want it; CI is to have it.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    # Only here: who runs the part without BEAM has no browser.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def served() -> Iterator[Served]:
    from viewer import Served

    with Served() as served:
        yield served


@pytest.fixture
def view(browser: Browser) -> Iterator[Callable[..., Viewer]]:
    """Makes viewers; none of them may have heard of an error, or asked another host."""
    from viewer import Viewer

    viewers: list[Viewer] = []

    def make(url: str, **options: Any) -> Viewer:
        viewers.append(Viewer(browser, url, **options))
        return viewers[-1]

    yield make
    for viewer in viewers:
        viewer.close()
    for viewer in viewers:
        assert viewer.wrong == []
        assert len(viewer.hosts) <= 1
