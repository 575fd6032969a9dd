"""``slither top``: what goes on in a program that runs, anew each second.

The main thread of the command shows it: the whole terminal, or a line a second where stdout is
none. The BEAM that is looked at makes the lines.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from slither._cli.attach import Attached, NotAttached, attach
from slither._cli.main import MISSING, OK

_SECOND = 1.0
# The most that BEAM draws.
_MOST = 1_000
# What ends the show: q, Ctrl-C and Ctrl-D, which come as letters.
_ENDS = b"qQ\x03\x04"


def command(options: argparse.Namespace) -> int:
    """Show it until somebody ends that, or the program ends; return the exit status."""
    try:
        with attach(options.pid) as beam:
            if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
                _screen(beam)
            else:
                _lines(beam)
    except NotAttached as error:
        sys.stderr.write(f"slither: {error}\n")
        return MISSING
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Whoever reads the lines has enough. Python would complain at its end otherwise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK


def _lines(beam: Attached) -> None:
    while True:
        sys.stdout.write(beam.ask("line")["line"] + "\n")
        sys.stdout.flush()
        time.sleep(_SECOND)


def _screen(beam: Attached) -> None:
    with _terminal() as wakes:
        while True:
            columns, rows = shutil.get_terminal_size()
            colours = "" if os.environ.get("NO_COLOR") else " colours"
            size = f"{min(columns, _MOST)} {min(rows, _MOST)}"
            lines = beam.ask(f"screen {size}{colours}")["lines"]
            # Each line is cleared to its end, and what is below the last: nothing flickers.
            sys.stdout.write("\x1b[H" + "\x1b[K\r\n".join(lines) + "\x1b[K\x1b[J")
            sys.stdout.flush()
            if _over(wakes):
                return


def _over(wakes: int) -> bool:
    """Wait for a second, for another size of the window, or for a letter that ends the show."""
    until = time.monotonic() + _SECOND
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([sys.stdin, wakes], [], [], left)
        if wakes in ready:
            os.read(wakes, 100)
            return False
        if sys.stdin in ready:
            typed = os.read(sys.stdin.fileno(), 100)
            if not typed or any(letter in _ENDS for letter in typed):
                return True
    return False


@contextmanager
def _terminal() -> Iterator[int]:
    """Take the terminal, and give it back as it was; gives what to read when its size changes."""
    import termios
    import tty

    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    former = signal.signal(signal.SIGWINCH, lambda *_signal: None)
    wakeup = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    try:
        tty.setraw(stdin)
        sys.stdout.write("\x1b[?1049h\x1b[?25l")
        yield reads
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGWINCH, former)
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        os.close(reads)
        os.close(writes)
