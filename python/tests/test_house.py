"""How the package is built: which folder may know which, and what each module says of itself.

Every list of exceptions may only get shorter: one that is an exception no more fails, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import slither

ROOT = Path(slither.__file__).parent
LONGEST = 400
"""Lines of a module."""

# What each layer may know beside itself. The ground is the private modules at the top; all other
# modules at the top are public, and may know everything, as may the command line.
LAYERS: dict[str, set[str]] = {
    "ground": set(),
    "_typed": {"ground"},
    "_wire": {"ground"},
    "_io": {"ground", "_wire"},
    "_worker": {"ground", "_typed", "_wire", "_io"},
    "_pipe": {"ground"},
    "_driver": {"ground", "_typed", "_wire", "_io", "_pipe"},
    "_joblib": {"ground", "_driver"},
    "_testing": {"ground", "_wire", "_io", "_worker", "_pipe"},
    "_cli": {
        *("ground", "_typed", "_wire", "_io", "_worker", "_pipe", "_driver", "_testing"),
        "public",
    },
    "public": {
        *("ground", "_typed", "_wire", "_io", "_worker", "_pipe", "_driver", "_testing", "_cli"),
        "_joblib",
    },
}
# Why a module knows another that its layer does not, for good.
JUSTIFIED = {
    ("slither._joblib.beams", "slither._worker.current"): "a worker has no workers of its own",
    ("slither._driver.beam", "slither._worker.current"): "a Beam is refused in a worker",
    ("slither._driver.beam", "slither.store"): "a Beam's table is the one that handlers have",
    ("slither._driver.tables", "slither.store"): "a Beam's table is the one that handlers have",
}
CROSSING: set[tuple[str, str]] = set()
CIRCLES: list[set[str]] = []
# Data, which nobody runs.
PLAIN = {"slither._figures", "slither._summary", "slither._types", "slither._version"}
TOO_LONG: set[str] = set()


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = ("slither", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def layer(name: str) -> str:
    top, *rest = name.split(".")[1:] or [""]
    if rest or (ROOT / top).is_dir():
        return top or "public"
    return "ground" if top.startswith("_") and top != "__main__" else "public"


def imports(name: str) -> Iterator[str]:
    """The modules that one names, in code and in annotations, wherever the import stands."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif (
            isinstance(node, ast.ImportFrom) and (source := imported_from(name, node)) in MODULES
        ):
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield whole if whole in MODULES else source


def imported_from(name: str, node: ast.ImportFrom) -> str:
    """What stands after `from`, with the dots of a relative import resolved."""
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    dropped = node.level - (MODULES[name].name == "__init__.py")
    package = parts[: len(parts) - dropped]
    return ".".join([*package, node.module] if node.module else package)


IMPORTS = {name: sorted(set(imports(name)) - {name}) for name in MODULES}


def test_the_modules_are_found() -> None:
    assert {"slither", "slither.worker", "slither._wire.codec"} <= MODULES.keys()
    assert "slither._wire.codec" in IMPORTS["slither.protocol"]
    assert "slither._types" in IMPORTS["slither._wire.codec"], "one that is for types alone"


def test_a_layer_knows_what_is_below_it() -> None:
    crossing = {
        (name, other)
        for name, others in IMPORTS.items()
        for other in others
        if layer(other) not in LAYERS[layer(name)] | {layer(name)}
    }
    assert crossing - JUSTIFIED.keys() == CROSSING
    assert JUSTIFIED.keys() <= crossing, "what is justified, and is not there any more"


def test_a_public_module_knows_no_module_that_runs_it() -> None:
    knows_cli = {name for name in MODULES if any(layer(one) == "_cli" for one in IMPORTS[name])}
    assert {name for name in knows_cli if layer(name) == "public"} == {"slither.__main__"}


def test_imports_have_no_circles() -> None:
    found = [circle for circle in circles() if len(circle) > 1]
    assert sorted(map(sorted, found)) == sorted(map(sorted, CIRCLES))


def circles() -> list[set[str]]:
    """Sets of modules that reach one another."""
    reached: dict[str, set[str]] = {}
    for name, known in IMPORTS.items():
        seen: set[str] = set()
        stack = list(known)
        while stack:
            other = stack.pop()
            if other not in seen:
                seen.add(other)
                stack += IMPORTS[other]
        reached[name] = seen
    found: list[set[str]] = []
    for name, others in reached.items():
        circle = {name} | {other for other in others if name in reached[other]}
        if circle not in found:
            found.append(circle)
    return found


def test_no_module_is_too_long() -> None:
    long = {
        name for name, path in MODULES.items() if len(path.read_text().splitlines()) > LONGEST
    }
    assert long == TOO_LONG


def test_each_module_says_what_it_is() -> None:
    for name, path in MODULES.items():
        first, _, rest = head(path).partition("\n")
        assert first.endswith((".", ":")), f"{name}: a first line that is a sentence"
        assert not rest or rest.startswith("\n"), f"{name}: a first line of its own"


def test_each_private_module_says_who_runs_it() -> None:
    """In which process or thread, and who calls it: that stands below the first line."""
    silent = {
        name
        for name, path in MODULES.items()
        if layer(name) != "public" and path.name != "__init__.py" and "\n" not in head(path)
    }
    assert silent == PLAIN


def head(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""
