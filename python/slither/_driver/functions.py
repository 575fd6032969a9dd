"""How workers find the functions of the program that drives BEAM, those of its script included.

Pure but for a look at ``sys.modules``; called in the thread that names a function.
"""

from __future__ import annotations

import os
import sys

from slither import _references
from slither._errors import NotImportable
from slither._types import Payload


def reference(function: object) -> tuple[str, str]:
    """Return the module and the name by which a worker finds a function of this program.

    Raises :class:`slither.NotImportable` with the reason where it can't be found.
    """
    module, name = _references.reference(function)
    return here(module, name), name


def here(module: str, name: str) -> str:
    """Return what workers import where this program says ``__main__``."""
    if module != "__main__":
        return module
    if main_module() is not None:
        return module
    if getattr(sys.modules.get("__main__"), "__spec__", None) is not None:
        raise NotImportable(
            f"{name} is defined in the __main__.py of {sys.path[0]}, which workers can't run; "
            "put it into another module of that and import it"
        )
    raise NotImportable(
        f"{name} is defined in an interactive session, of which workers have no file; put it "
        "into a module and import it"
    )


def importable(document: dict[str, Payload]) -> dict[str, Payload]:
    """Return a pipe's document with modules as workers import them."""
    stages = []
    for stage in document["stages"]:
        changed = dict(stage)
        if "module" in stage:
            changed["module"] = here(stage["module"], stage["function"])
        if stage["type"] == "pipe":
            changed["pipe"] = importable(stage["pipe"])
        stages.append(changed)
    return {**document, "stages": stages}


def main_module() -> str | None:
    """Return the path of the program's script, or the name of the module run with ``-m``.

    None in a REPL, and where the program is read from stdin or is a folder.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return str(spec.name)
    # Python removes __file__ when the main thread has finished the script; others may go on.
    path = getattr(main, "__file__", None) or getattr(
        getattr(main, "__loader__", None), "path", None
    )
    if path is None:
        return None
    path = os.path.abspath(path)
    return path if os.path.isfile(path) else None
