"""The mistakes in a pipe's definition, each with the line of the program that made it.

Called by :class:`slither.Pipe` and what it is made of, in the thread of whoever writes a pipe.
"""

from __future__ import annotations

import os
import re
import sys

from slither._errors import PipeError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def mistake(reason: str) -> PipeError:
    """Return the error of the program's line that runs now."""
    return PipeError(reason, caller())


def caller() -> str:
    """Return the file and line of the program's that has called Slither."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def name(given: object, what: str) -> str:
    """Return the name of a stage, an output, a store or a pipe, or raise for what is none."""
    if isinstance(given, str) and _NAME.fullmatch(given):
        return given
    raise mistake(
        f"the name of a {what} is 1 to 64 of the characters A-Z, a-z, 0-9, _ and -, and does "
        f"not begin with -; got {given!r:.80}"
    )
