"""Looks into a BEAM that runs on this machine for the same user, by its Unix socket.

The main thread of ``slither top`` and ``slither diagnose`` does.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

# Seconds for a connection, and for an answer.
_CONNECT = 2.0
_ANSWER = 20.0

Answer = dict[str, Any]


class NotAttached(Exception):
    """There is no such program, or there are several; the words say which there are."""


class Attached:
    """A BEAM that answers questions, line by line."""

    def __init__(self, pid: int, path: str) -> None:
        """Connect to the BEAM of a process; OSError where nobody listens."""
        self.pid = pid
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_CONNECT)
            self._socket.connect(path)
            self._socket.settimeout(_ANSWER)
        except BaseException:
            self._socket.close()
            raise
        self._lines = self._socket.makefile("rb")

    def ask(self, question: str) -> Answer:
        """Ask, and return the answer; NotAttached where the program has ended."""
        try:
            self._socket.sendall(question.encode() + b"\n")
            line = self._lines.readline()
        except ConnectionError:
            line = b""
        except OSError as error:
            raise NotAttached(
                f"the program of process {self.pid} answers no more: {error}"
            ) from None
        if not line.endswith(b"\n"):
            raise NotAttached(f"the program of process {self.pid} has ended")
        answer: Answer = json.loads(line)
        return answer

    def close(self) -> None:
        """Leave it alone."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Attached:
        """Return the BEAM itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it alone."""
        self.close()


def attach(pid: int | None) -> Attached:
    """Connect to the BEAM of a process, or that a process has started; None: to the only one."""
    found: list[tuple[Attached, Answer]] = []
    for beam in _all():
        try:
            found.append((beam, beam.ask("snapshot")))
        except NotAttached:
            beam.close()
    named = [(beam, told) for beam, told in found if pid in (None, beam.pid, told["program_pid"])]
    chosen = named[0][0] if len(named) == 1 else None
    for beam, _told in found:
        if beam is not chosen:
            beam.close()
    if chosen is not None:
        return chosen
    raise NotAttached(
        _why(pid, [(_pid(told), told) for _beam, told in named or found], bool(named))
    )


def _why(pid: int | None, found: list[tuple[int, Answer]], named: bool) -> str:
    known = "; ".join(f"{number} ({told['name']})" for number, told in found)
    if not found:
        if pid is not None:
            return f"process {pid} is no program with Slither of this user"
        return (
            f"no program with Slither runs here for this user (looked in {', '.join(folders())})"
        )
    if pid is not None and not named:
        return f"process {pid} is no program with Slither of this user; these are: {known}"
    return f"several programs with Slither run here; name one: {known}"


def _pid(told: Answer) -> int:
    return int(told["program_pid"] or told["os_pid"])


def folders(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the folders in which a BEAM of this user may have its socket, best first.

    >>> folders({"XDG_RUNTIME_DIR": "/run/user/7"})[0]
    '/run/user/7/slither'
    """
    user = os.getuid()
    runtime = environ.get("XDG_RUNTIME_DIR")
    found = [f"{runtime}/slither"] if runtime else []
    # A program started by cron, say, does not know of its runtime folder.
    return list(dict.fromkeys([*found, f"/run/user/{user}/slither", f"/tmp/slither-{user}"]))


def _all() -> Iterator[Attached]:
    for folder in folders():
        if not _private(folder):
            continue
        for name in sorted(os.listdir(folder)):
            pid, _, ending = name.partition(".")
            if ending != "sock" or not pid.isdigit():
                continue
            path = os.path.join(folder, name)
            try:
                yield Attached(int(pid), path)
            except OSError as error:
                # Its BEAM was killed, and left the file.
                if error.errno == errno.ECONNREFUSED:
                    _remove(path)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def _private(folder: str) -> bool:
    """Return whether a folder is the user's own: somebody else may have put it there."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    )
