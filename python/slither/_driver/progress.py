"""How far a run is: a bar in a cell of a notebook; on stderr a bar by ``rich``, or else lines.

A run calls it with each frame that comes, in the thread that asks for results.
"""

from __future__ import annotations

import html
import sys
import time
from operator import length_hint
from typing import Any, TextIO

from slither._driver.run import Shows
from slither._types import Payload

# Seconds between two lines, two looks of a bar, and two of one in a notebook, where each is a
# message to a browser.
_PLAIN, _RICH, _CELL = 2.0, 0.1, 0.25


def shows(name: str, items: Payload, wanted: bool) -> Shows | None:
    """Return what a run calls as it goes on, or None where nobody wants to see it."""
    if not wanted:
        return None
    hint = length_hint(items, -1)
    total = hint if hint >= 0 else None
    if in_notebook():
        return _Cell(name, total)
    try:
        from rich.progress import Progress
    except ImportError:
        return _Lines(name, total, sys.stderr)
    return _Bar(name, total, Progress)


def in_notebook() -> bool:
    """Tell whether this program is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def text(run: Any, seconds: float, total: int | None = None) -> str:
    """Say what a run has done so far.

    >>> from types import SimpleNamespace
    >>> run = SimpleNamespace(pulled=10, errors={"ValueError": 1}, given=lambda: {"accept": 4})
    >>> text(run, 2.0, total=20)
    '10 of 20 in, accept 4, 1 errors, 2/s'
    """
    given = run.given()
    of = "" if total is None else f" of {total}"
    parts = [f"{run.pulled}{of} in", *(f"{name} {count}" for name, count in given.items())]
    failed = sum(run.errors.values())
    if failed:
        parts.append(f"{failed} errors")
    parts.append(f"{sum(given.values()) / max(seconds, 1e-9):.0f}/s")
    return ", ".join(parts)


class _Lines:
    def __init__(self, name: str, total: int | None, out: TextIO) -> None:
        self._name, self._total, self._out = name, total, out
        self._began = self._said = time.monotonic()

    def __call__(self, run: Any) -> None:
        now = time.monotonic()
        if not run.ended and now < self._said + _PLAIN:
            return
        self._said = now
        done = "done: " if run.ended else ""
        self._out.write(f"{self._name}: {done}{text(run, now - self._began, self._total)}\n")
        self._out.flush()


class _Bar:
    def __init__(self, name: str, total: int | None, progress: Any) -> None:
        from rich.console import Console

        self._progress = progress(console=Console(stderr=True))
        self._name, self._total = name, total
        self._task = self._progress.add_task(name, total=total)
        self._began = self._seen = time.monotonic()
        self._progress.start()

    def __call__(self, run: Any) -> None:
        now = time.monotonic()
        if not run.ended and now < self._seen + _RICH:
            return
        self._seen = now
        given = text(run, now - self._began, self._total)
        total = run.pulled if run.ended else None
        self._progress.update(
            self._task,
            description=f"{self._name}: {given}",
            completed=run.through(),
            **({} if total is None else {"total": total}),
        )
        if run.ended:
            self._progress.stop()


class _Cell:
    def __init__(self, name: str, total: int | None) -> None:
        from IPython import display

        self._name, self._total = name, total
        self._began = self._seen = time.monotonic()
        # The bar is drawn in the place where it stands from now on, whatever the cell prints.
        show: Any = display.display
        self._place = show(self._look(None, self._began), raw=True, display_id=True)

    def __call__(self, run: Any) -> None:
        now = time.monotonic()
        if not run.ended and now < self._seen + _CELL:
            return
        self._seen = now
        self._place.update(self._look(run, now), raw=True)

    def _look(self, run: Any, now: float) -> dict[str, str]:
        said = "0 in" if run is None else text(run, now - self._began, self._total)
        ended = run is not None and run.ended
        total = run.pulled if ended else self._total
        through = 0 if run is None else run.through()
        # A bar without a value tells that something goes on, and not how far it is.
        of = "" if total is None else f' value="{through}" max="{max(total, 1)}"'
        label = f"{self._name}: {'done: ' if ended else ''}{said}"
        return {
            "text/plain": label,
            "text/html": f"<progress{of}></progress> <code>{html.escape(label)}</code>",
        }
