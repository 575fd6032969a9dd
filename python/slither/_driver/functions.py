"""How workers find the functions of the program that drives BEAM, those of its script included.

Pure but for a look at ``sys.modules``; called in the thread that names a function.
"""

from __future__ import annotations

import os
import sys

from slither import _references
from slither._errors import NotImportable


def reference(function: object) -> tuple[str, str]:
    """Return the module and the name by which a worker finds a function of this program.

    Raises :class:`slither.NotImportable` with the reason where it can't be found.
    """
    module, name = _references.reference(function)
    check(module, name)
    return module, name


def check(module: str, name: str) -> None:
    """Raise where a function is of a ``__main__`` that workers can't run."""
    if module != "__main__" or main_module() is not None:
        return
    if getattr(sys.modules.get("__main__"), "__spec__", None) is not None:
        raise NotImportable(
            f"{name} is defined in the __main__.py of {sys.path[0]}, which workers can't run; "
            "put it into another module of that and import it"
        )
    raise NotImportable(
        f"{name} is defined in an interactive session, of which workers have no file; put it "
        "into a module and import it, or start slither.Beam(by_value=True)"
    )


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
