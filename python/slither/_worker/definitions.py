"""The pipes of a module, read in an interpreter made for it.

A worker that imported the module itself would keep it: what is edited later would not be seen, or
half of it, and handlers that are imported again would take the place of those that run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from typing import TYPE_CHECKING

from slither._wire.faults import describe
from slither._worker.errors_out import exception_error
from slither._worker.execute import TargetError, load_module

if TYPE_CHECKING:
    from slither._types import Payload

# Compiled code is known by its source's second and size: two edits of one second share it.
_CHILD = (
    "import json, sys; sys.dont_write_bytecode = True; sys.path[:] = json.loads(sys.argv[1]); "
    "from slither._worker.definitions import main; main(sys.argv[2], int(sys.argv[3]))"
)


def documents_of(module: str) -> list[Payload]:
    """Return the documents of a module's pipes, as its files are now.

    Raises :class:`slither._worker.execute.TargetError` with what kept it from being imported.
    """
    read, write = os.pipe()
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), module, str(write)]
    with open(read, encoding="utf-8") as answers:
        try:
            child = subprocess.Popen(command, pass_fds=(write,), stdin=subprocess.DEVNULL)
        finally:
            os.close(write)
        # A line, not all there is: what the module has started may keep the pipe open.
        line = answers.readline()
        status = child.wait()
    if not line.endswith("\n"):
        message = f"the interpreter that imported {module} ended with status {status}"
        raise TargetError(describe("import", message))
    answer: dict[str, Payload] = json.loads(line)
    if "error" in answer:
        raise TargetError(answer["error"])
    documents: list[Payload] = answer["documents"]
    return documents


def pipes_of(module: types.ModuleType) -> list[Payload]:
    """Return the pipes that are public names of a module, each once.

    Raises :class:`slither.PipeError` where two have one name.
    """
    from slither._errors import PipeError
    from slither.pipe import Pipe

    public = getattr(module, "__all__", None)
    names = [name for name in vars(module) if not name.startswith("_")]
    found: dict[str, Pipe] = {}
    for name in names if public is None else public:
        value = getattr(module, name, None)
        if not isinstance(value, Pipe) or found.get(value.name) is value:
            continue
        if value.name in found:
            raise PipeError(f"{module.__name__} has two pipes named {value.name!r}")
        found[value.name] = value
    return list(found.values())


def main(module: str, descriptor: int) -> None:
    """Write the documents of a module, or why there are none, as one line; then exit."""
    from slither._worker.process import die_with_parent

    die_with_parent()
    os.set_inheritable(descriptor, False)
    answer: dict[str, Payload]
    try:
        answer = {"documents": [pipe.document() for pipe in pipes_of(load_module(module))]}
    except TargetError as error:
        answer = {"error": error.error}
    except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
        answer = {"error": exception_error(error)}
    if "error" in answer:
        # JSON has no bytes; who reads why a module can't be imported needs no more than words.
        answer["error"].pop("raised", None)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(descriptor, "w", encoding="utf-8") as out:
        out.write(json.dumps(answer) + "\n")
    # Threads that the module has started are not waited for.
    os._exit(0)
