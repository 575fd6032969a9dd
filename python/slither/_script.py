"""What of a program's main module its workers have, too: what its file has, where it has one.

Pure but for a look at ``sys.modules`` and into the file; a program asks before it names something
of ``__main__``, in the thread that sends it, and so does a worker.
"""

from __future__ import annotations

import builtins
import functools
import sys
from types import FunctionType, ModuleType

MAIN = "__main__"


def is_found(value: object, script: str | None) -> bool:
    """Tell whether other processes that run ``script`` find a function or class by its name.

    They do not where there is no script, where somebody has typed it in, where ``exec`` has made
    it, and where it stands under ``if __name__ == "__main__":``, which workers leave out.
    """
    main = sys.modules.get(MAIN)
    if script is None or main is None:
        return False
    name = str(getattr(value, "__qualname__", ""))
    if found_in_main(name) is not value or _is_left_out(value, name, main):
        return False
    return not _is_interactive() or _is_of(value, script)


def found_in_main(name: str) -> object:
    """Return what the main module has under a dotted name; None where there is nothing."""
    found: object = sys.modules.get(MAIN)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def is_whole(script: str | None) -> bool:
    """Tell whether others find all that has a name in the main module."""
    main = sys.modules.get(MAIN)
    if script is None or main is None or _is_interactive():
        return False
    return not _guarded(getattr(main, "__file__", None))[1]


def _is_interactive() -> bool:
    """Tell whether somebody types more into the main module than its file has."""
    return bool(sys.flags.interactive) or hasattr(sys, "ps1") or hasattr(builtins, "get_ipython")


def _is_left_out(value: object, name: str, main: ModuleType) -> bool:
    """Tell whether workers that run the file of the main module do not define this there."""
    path = getattr(main, "__file__", None)
    names, lines = _guarded(path)
    if name.partition(".")[0] in names:
        return True
    code = getattr(value, "__code__", None)
    if code is None or hasattr(value, "__wrapped__"):
        return False
    # A file may define a function for all, and another of that name for the program alone.
    return code.co_filename == "<string>" or (
        code.co_filename == path and any(code.co_firstlineno in part for part in lines)
    )


def _is_of(value: object, script: str) -> bool:
    """Tell whether the code of a function, or of a class's first method, stands in the script."""
    parts = vars(value).values() if isinstance(value, type) else (value,)
    code = next((part.__code__ for part in parts if isinstance(part, FunctionType)), None)
    return code is not None and code.co_filename == script


@functools.lru_cache(maxsize=8)
def _guarded(path: str | None) -> tuple[frozenset[str], tuple[range, ...]]:
    """Return the names of functions and classes that only the program itself defines.

    And the lines, of which some define functions or classes, that it alone runs.
    """
    if path is None:
        return frozenset(), ()
    import ast
    import tokenize

    try:
        with tokenize.open(path) as file:
            body = ast.parse(file.read()).body
    except (OSError, SyntaxError, ValueError):
        return frozenset(), ()
    guards = [node for node in body if isinstance(node, ast.If) and _is_guard(node.test)]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

    def names(nodes: list[ast.stmt]) -> set[str]:
        return {part.name for node in nodes for part in ast.walk(node) if isinstance(part, kinds)}

    guards = [guard for guard in guards if names(guard.body)]
    inside = names([node for guard in guards for node in guard.body])
    outside = [node for node in body if node not in guards]
    lines = (range(part.lineno, (part.body[-1].end_lineno or 0) + 1) for part in guards)
    return frozenset(inside - names(outside)), tuple(lines)


def _is_guard(test: object) -> bool:
    import ast

    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = (test.left, test.comparators[0])
    named = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    return named and any(isinstance(side, ast.Constant) and side.value == MAIN for side in sides)
