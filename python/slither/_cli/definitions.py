"""The pipes that are public names of a module, and a process that writes them as documents.

``slither check`` reads pipes so; :func:`main` is the whole of an interpreter that a worker starts
(:mod:`slither._worker.definitions`).
"""

from __future__ import annotations

import json
import os
import sys
import types

from slither._errors import PipeError
from slither._types import Payload
from slither._worker.errors_out import exception_error
from slither._worker.process import die_with_parent
from slither._worker.targets import TargetError, load_module
from slither.pipe import Pipe


def pipes_of(module: types.ModuleType) -> list[Pipe]:
    """Return the pipes that are public names of a module, each once.

    Raises :class:`slither.PipeError` where two have one name.
    """
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
    die_with_parent(os.getppid())
    os.set_inheritable(descriptor, False)
    answer: dict[str, Payload]
    try:
        answer = {"documents": [pipe.document() for pipe in pipes_of(load_module(module))]}
    except TargetError as error:
        answer = {"error": error.error}
    except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
        answer = {"error": exception_error(error)}
    if "error" in answer:
        # JSON has no bytes, and words are enough to say why a module can't be imported.
        answer["error"].pop("raised", None)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(descriptor, "w", encoding="utf-8") as out:
        out.write(json.dumps(answer) + "\n")
    # Exits at once, rather than wait for threads that the module has started.
    os._exit(0)
