"""``slither doctor``: what is installed, what is missing, and how to get it.

The main thread of the command looks at one thing after the other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata

from slither._cli.main import MISSING, OK
from slither._driver import launch
from slither._driver.beam import Beam
from slither._errors import SlitherError
from slither._version import __version__

_OLDEST_OTP = 25
# The applications of Erlang's that the Elixir in the BEAM side needs.
_NEEDED = "[kernel, stdlib, compiler]"
Finding = tuple[bool, str, str]
"""Whether it is fine, what was looked at, and what was found."""


def command(_options: argparse.Namespace) -> int:
    """Look at everything; return the exit status."""
    fine = True
    for good, what, found in findings():
        fine = fine and good
        mark = "ok  " if good else "MISS"
        sys.stdout.write(f"{mark} {what:<14} {found}\n")
        sys.stdout.flush()
    return OK if fine else MISSING


def findings() -> Iterator[Finding]:
    """Look at one thing after the other."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield sys.version_info >= (3, 10), "Python", f"{version} at {sys.executable}"
    yield True, "slither", f"{__version__} in {os.path.dirname(launch.__file__)[:-8]}"
    yield _msgpack()
    erl = _attempt("erl", _erl)
    yield erl
    escript = _attempt("BEAM side", lambda: (True, "BEAM side", launch.escript()))
    yield escript
    if erl[0] and escript[0]:
        yield _attempt("a run", _run)
    for name, use in (("rich", "progress bars"), ("numpy", "arrays")):
        yield _optional(name, use)


def _attempt(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except SlitherError as error:
        return False, what, str(error)


def _msgpack() -> Finding:
    import msgpack

    fast = msgpack.Packer.__module__ == "msgpack._cmsgpack"
    version = ".".join(map(str, msgpack.version))
    slow = "" if fast else ", without its C part: several times slower"
    return True, "msgpack", version + slow


def _erl() -> Finding:
    path = launch.erl()
    ask = f"""io:put_chars(erlang:system_info(otp_release)),
        [io:put_chars([$\\s, atom_to_list(A)]) || A <- {_NEEDED},
            not is_list(code:lib_dir(A))], halt()."""
    command = [path, "-boot", "start_clean", "-noinput", "-eval", ask]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, "erl", f"{path} can't be run: {error}"
    release, *lacking = done.stdout.split() or [""]
    if not release.isdigit():
        return False, "erl", f"{path} fails: {(done.stderr or done.stdout).strip()[:200]}"
    if int(release) < _OLDEST_OTP:
        return False, "erl", f"OTP {release} at {path} is too old. {launch.advice()}"
    if lacking:
        missing = f"lacks of Erlang: {', '.join(lacking)}"
        return False, "erl", f"OTP {release} at {path} {missing}. {launch.advice()}"
    return True, "erl", f"OTP {release} at {path}"


def _run() -> Finding:
    began = time.monotonic()
    with Beam(workers=1) as beam:
        started = time.monotonic()
        answer = beam.submit(abs, -1).result(60)
        done = time.monotonic()
    up, first = started - began, done - started
    return answer == 1, "a run", f"BEAM is up in {up:.2f} s, a worker answers {first:.2f} s later"


def _optional(name: str, use: str) -> Finding:
    try:
        return True, name, metadata.version(name)
    except metadata.PackageNotFoundError:
        return True, name, f"not installed; for {use}: pip install {name}"
