"""``slither check my_pipes.py``: validate a file's pipes, and draw them.

It runs in the process of the command, as does the user's file; ``slither run`` loads pipes by it.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from slither._cli.definitions import pipes_of
from slither._errors import PipeError
from slither._pipe import draw
from slither._pipe.definition import Pipe
from slither._pipe.document import handlers
from slither._takes import contradiction, takes
from slither._typed.doubts import doubts
from slither._types import Payload
from slither._wire.types.table import REFUSED, find
from slither._worker.errors_out import exception_error
from slither._worker.targets import TargetError, resolve


class FileRefused(Exception):
    """A file that has no pipes to give; the message says why."""


def command(options: argparse.Namespace) -> int:
    """Validate and draw; return the exit status."""
    return check(options.pipe, mermaid=options.mermaid)


def check(
    path: str,
    *,
    mermaid: bool = False,
    out: TextIO | None = None,
    errors: TextIO | None = None,
) -> int:
    """Validate the pipes of a file, and draw each as text, or as a Mermaid flowchart.

    ``path`` is a Python file, with ``:name`` for one pipe alone. Returns an exit status: 0, or 1
    where something is wrong, which is written to ``errors`` (stderr).
    """
    out, errors = out or sys.stdout, errors or sys.stderr
    try:
        documents = [pipe.document() for pipe in load(path)]
    except (FileRefused, PipeError) as error:
        errors.write(f"{path}: {error}\n")
        return 1
    faults = [fault for document in documents for fault in _faults(document)]
    for index, document in enumerate(documents):
        drawn = draw.mermaid(document) if mermaid else draw.text(document)
        out.write(f"{chr(10) if index else ''}{drawn}\n")
    for certain, fault in faults:
        errors.write(f"{path}: {'' if certain else 'perhaps a slip: '}{fault}\n")
    return 1 if any(certain for certain, _fault in faults) else 0


def load(path: str) -> list[Pipe]:
    """Run a file as the module that it is to a worker, and return its pipes.

    ``path`` may end in ``:name``, for one pipe by its name or the name of its variable. The
    file's folder becomes the first of ``sys.path``, as it is for a script. Raises
    :class:`FileRefused`.
    """
    file, _, name = path.partition(":")
    module = _module(Path(file))
    pipes = pipes_of(module)
    if name:
        pipes = [pipe for pipe in pipes if pipe.name == name or getattr(module, name, 0) is pipe]
    if not pipes:
        what = f"no pipe named {name!r}" if name else "no public slither.Pipe"
        raise FileRefused(f"the file has {what}")
    return pipes


def _module(file: Path) -> types.ModuleType:
    if not file.is_file():
        raise FileRefused("there is no such file")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise FileRefused("it is no Python file")
    sys.path.insert(0, str(file.resolve().parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary to the user's code
        facts = exception_error(error)
        raise FileRefused(f"it could not be run:\n{facts['traceback']}".rstrip()) from None
    return module


def _faults(document: dict[str, Payload]) -> Iterator[tuple[bool, str]]:
    # Gives what a worker would not find, and what does not go together; the first is whether it
    # fails for certain.
    for handler in handlers(document):
        where = f"pipe {handler.pipe!r}, stage {handler.stage!r}"
        try:
            function = resolve(["function", handler.module, handler.name])
        except TargetError as error:
            yield True, f"{where}: {error}"
            continue
        # What gets its batch as a frame is annotated as its package likes.
        if (
            not handler.frame
            and (found := contradiction(function, handler.takes, handler.many)) is not None
        ):
            certain, what = found
            yield certain, f"{where}: {handler.module}:{handler.name}: {what}"
        elif not handler.frame:
            taken = takes(function).what if handler.takes == "each" else handler.takes
            for what in doubts(
                function, one=taken == "item", many=handler.many, is_sent=_is_sent
            ):
                yield False, f"{where}: {handler.module}:{handler.name}: {what}"


def _is_sent(kind: type) -> bool:
    return find(kind) is not REFUSED
