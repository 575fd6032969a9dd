"""Starts BEAM: finds Erlang and the BEAM side of Slither, and says what to install.

The thread that makes a Beam runs it; ``slither-beam-output`` reads what BEAM prints.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections import deque
from typing import IO

from slither._errors import BeamMissing

_LAST_LINES = 200
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The escript is inside the package in a wheel; in a checkout `make escript` builds it.
_PLACES = (
    os.path.join(_PACKAGE, "_beam", "slither.escript"),
    os.path.join(_PACKAGE, os.pardir, os.pardir, "_build", "slither.escript"),
)

# BEAM's schedulers would spin while they wait, and take the cores from the workers.
_FLAGS = ("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "+fnu", "+B")

_INSTALL = {
    "apt-get": "apt-get install erlang-base",
    "dnf": "dnf install erlang-erts erlang-kernel erlang-stdlib erlang-compiler",
    "apk": "apk add erlang",
    "brew": "brew install erlang",
    "pacman": "pacman -S erlang-nox",
    "zypper": "zypper install erlang",
    "pkg": "pkg install erlang",
}


class Child:
    """A BEAM that runs, and the last lines of what it says outside the channel."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self.process = process
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._reader = threading.Thread(
            target=self._read, args=(output,), name="slither-beam-output", daemon=True
        )
        self._reader.start()

    def wait(self, timeout: float) -> int | None:
        """Wait at most ``timeout`` seconds for its end; return its status, or None."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def lines(self) -> list[str]:
        """Return the last lines."""
        return list(self._lines)

    def last_words(self) -> list[str]:
        """Return the last lines of a BEAM that has ended."""
        self._reader.join(timeout=1)
        return self.lines()

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                text = line.decode("utf-8", "replace").rstrip()
                if text:
                    self._lines.append(text)


def start(descriptor: int) -> Child:
    """Start BEAM, whose end of a pair of sockets is the descriptor."""
    command = [
        erl(),
        *_FLAGS,
        *("-boot", "no_dot_erlang", "-noinput"),
        *("-escript", "main", "slither_escript", "-run", "escript", "start"),
        *("-extra", escript(), str(descriptor)),
    ]
    process = subprocess.Popen(
        command,
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A BEAM that crashes leaves its words on stderr, and no dump in the user's folder.
        env={"ERL_CRASH_DUMP_SECONDS": "0", **os.environ},
        # A Ctrl-C on the terminal is for the driver alone, which then ends BEAM in order.
        start_new_session=True,
    )
    assert process.stdout is not None
    return Child(process, process.stdout)


def erl() -> str:
    """Return the path of Erlang's ``erl``, or raise :class:`slither.BeamMissing`."""
    found = shutil.which(os.environ.get("SLITHER_ERL", "erl"))
    if found is None:
        raise BeamMissing(f"Erlang's erl is not on PATH. {advice()}")
    return found


def escript() -> str:
    """Return the path of Slither's BEAM side, or raise :class:`slither.BeamMissing`."""
    named = os.environ.get("SLITHER_ESCRIPT")
    for path in (named,) if named else _PLACES:
        if os.path.isfile(path):
            return os.path.abspath(path)
    if named:
        raise BeamMissing(f"SLITHER_ESCRIPT names {named}, which is no file")
    raise BeamMissing(
        "this installation of slither-beam lacks its BEAM side. In a checkout, run "
        "`make escript`; elsewhere, install the wheel that `make wheel` builds."
    )


def advice() -> str:
    """Say how to install Erlang on this system."""
    for tool, command in _INSTALL.items():
        if shutil.which(tool):
            return f"Install Erlang/OTP 25 or newer: {command}"
    return "Install Erlang/OTP 25 or newer: https://www.erlang.org/downloads"
