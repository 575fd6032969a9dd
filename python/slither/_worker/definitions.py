"""The pipes of a module, read in an interpreter made for it.

A worker that imported the module itself would keep it: what is edited later would not be seen, or
half of it, and handlers that are imported again would take the place of those that run. The main
thread runs this for a call of the target ``pipes``; the child runs
:func:`slither._cli.definitions.main`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from slither._types import Payload
from slither._wire.faults import describe

# Python takes cached bytecode for that of a source of the same second and size, so two edits
# within a second would share it: write none.
_CHILD = (
    "import json, sys; sys.dont_write_bytecode = True; sys.path[:] = json.loads(sys.argv[1]); "
    "from slither._cli.definitions import main; main(sys.argv[2], int(sys.argv[3]))"
)


def documents_of(module: str) -> tuple[list[Payload], dict[str, Payload] | None]:
    """Return the documents of a module's pipes, as its files are now, or why there are none."""
    read, write = os.pipe()
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), module, str(write)]
    with open(read, encoding="utf-8") as answers:
        try:
            child = subprocess.Popen(command, pass_fds=(write,), stdin=subprocess.DEVNULL)
        finally:
            os.close(write)
        # Read a line rather than to the end: a process that the module started may keep the pipe
        # open.
        line = answers.readline()
        status = child.wait()
    if not line.endswith("\n"):
        message = f"the interpreter that imported {module} ended with status {status}"
        return [], describe("import", message)
    answer: dict[str, Payload] = json.loads(line)
    return answer.get("documents", []), answer.get("error")
