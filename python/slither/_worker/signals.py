"""Signal handlers of the user's in a worker: they run where nothing of Slither's is half done.

Python runs a signal's handler between any two steps of the main thread, and raises its
exception there: a time limit that strikes as a frame is written would leave half of that
frame. So a worker holds signal handlers back while its own code runs, and lets them run once
the user's code does, or while it waits for BEAM. This module replaces ``signal.signal`` for
that, and costs nothing until a handler is set. Code that runs the user's, or waits for BEAM,
calls this module, which acts in the main thread alone.
"""

from __future__ import annotations

import functools
import logging
import signal
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, Concatenate, ParamSpec, TypeVar

Handler = Callable[[int, "FrameType | None"], Any]
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

used = False
"""Whether somebody has set a handler."""
on_taken: Callable[[int], None] | None = None
"""Is told of each signal that a handler of the user's is about to be set for."""
_held = False
_waiting: deque[tuple[Handler, int, FrameType | None]] = deque()
_main = threading.main_thread().ident


class _Held:
    """A handler that waits while handlers are held back."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _held:
            _waiting.append((self.handler, number, frame))
        else:
            self.handler(number, frame)


def install() -> None:
    """Put ourselves before ``signal.signal`` and ``signal.getsignal``, and hold handlers back."""
    global _held
    _held = True
    set_signal, get_signal = signal.signal, signal.getsignal

    @functools.wraps(set_signal)
    def set_held(number: int, handler: Any, /) -> Any:
        global used
        if on_taken is not None:
            on_taken(number)
        if callable(handler) and not isinstance(handler, signal.Handlers):
            used = True
            handler = _Held(handler)
        return _plain(set_signal(number, handler))

    @functools.wraps(get_signal)
    def get_held(number: int, /) -> Any:
        return _plain(get_signal(number))

    setattr(signal, "signal", set_held)  # noqa: B010 - mypy allows no assignment
    setattr(signal, "getsignal", get_held)  # noqa: B010


def _plain(handler: object) -> object:
    return handler.handler if isinstance(handler, _Held) else handler


class Running:
    """A block in which code of the user's runs, and signal handlers with it."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        """Let handlers run; those of signals that came too late for the block before are told."""
        global _held
        self._before = _held
        if _waiting:
            tell_late()
        _held = False

    def __exit__(self, *_error: object) -> None:
        """Hold them back again, where they were."""
        global _held
        _held = self._before


def tell_late() -> None:
    """Run handlers whose signals came when no code of the user's ran any more.

    What they raise is logged: it is no call's.
    """
    while _waiting:
        handler, number, frame = _waiting.popleft()
        try:
            handler(number, frame)
        except BaseException:
            name = signal.Signals(number).name
            logging.getLogger("slither").exception(
                "a handler of %s raised when no call ran", name
            )


def whole(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Have a method run to its end before handlers do, where code of the user's calls it."""

    @functools.wraps(method)
    def held(self: S, /, *args: P.args, **options: P.kwargs) -> R:
        global _held
        if not used or _held or threading.get_ident() != _main:
            return method(self, *args, **options)
        _held = True
        try:
            return method(self, *args, **options)
        finally:
            _held = False
            _run_waiting()

    return held


def _run_waiting() -> None:
    while _waiting:
        handler, number, frame = _waiting.popleft()
        handler(number, frame)


def while_waiting(wait: Callable[[], object]) -> None:
    """Wait for BEAM; what handlers raise meanwhile comes out of it, for nothing is half done."""
    global _held
    if not (used and _held and threading.get_ident() == _main):
        return
    _held = False
    try:
        _run_waiting()
        wait()
    finally:
        _held = True


def while_idle(wait: Callable[[], object]) -> None:
    """Wait for the next call; what handlers raise meanwhile is logged."""
    global _held
    while used and threading.get_ident() == _main:
        try:
            _held = False
            tell_late()
            wait()
            return
        except BaseException:
            logging.getLogger("slither").exception("a signal handler raised when no call ran")
        finally:
            _held = True
