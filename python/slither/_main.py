"""The driver's script in a worker: run once, under another name, so that its guard holds."""

from __future__ import annotations

import sys
import types
from importlib.machinery import SourceFileLoader

from slither import _registry

NAME = "__slither_main__"


def load(path: str) -> types.ModuleType:
    """Return the module of the script at ``path``, which also goes by ``__main__`` from then on.

    What it registers with ``on_start`` runs before this returns. Whatever the script raises
    passes through, and the next call tries again.
    """
    found = sys.modules.get(NAME)
    if found is not None:
        return found
    before = set(_registry.start_hooks)
    module = types.ModuleType(NAME)
    module.__file__ = path
    previous = sys.modules.get("__main__")
    sys.modules[NAME] = sys.modules["__main__"] = module
    try:
        # Not imported, which would leave a cache beside the script.
        with open(path, "rb") as file:
            code = SourceFileLoader(NAME, path).source_to_code(file.read(), path)
        exec(code, module.__dict__)
        for name, hook in list(_registry.start_hooks.items()):
            if name not in before:
                hook()
    except BaseException:
        del sys.modules[NAME]
        if previous is not None:
            sys.modules["__main__"] = previous
        raise
    return module
