"""Which files of the project a worker has imported, and what was in them, for watched pools.

Only a worker of a pool with ``watch`` imports this. The main thread asks; any thread may import.

The project's own modules are compiled from their source each time: a cached one is taken for new
where its source has the same size and was saved in the same second. What was read is what BEAM is
told of, so that an edit during an import can't be missed.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from slither._types import Payload
from slither._worker import current
from slither._worker.targets import load_module

_MAIN = "__main__"
_AT_ONCE = 100
_PACKAGES = {"site-packages", "dist-packages"}
_own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_not_watched = tuple(
    os.path.join(os.path.realpath(folder), "")
    for folder in {*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")), _own}
    if folder
)
_read: dict[str, list[Payload]] = {}
"""What each file held when it was read last: its module's name, its path, size and checksum."""
_news: deque[str] = deque()
_seen = 0
_followed = False


def follow() -> None:
    """Note what this process imports from now on."""
    global _followed
    if _followed:
        return
    _followed = True
    current.noted = note
    get_code: Callable[[Any, str], CodeType | None] = SourceFileLoader.get_code

    def read_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        path = loader.get_filename(name)
        if type(loader) is not SourceFileLoader or not _is_project(path):
            return get_code(loader, name)
        source = loader.get_data(path)
        note(name, path, source)
        code: CodeType = loader.source_to_code(source, path)
        return code

    setattr(SourceFileLoader, "get_code", read_code)  # noqa: B010 - mypy allows no assignment


def note(name: str, path: str, data: bytes) -> None:
    """Take down that a module was made of what a file held."""
    if _is_project(path):
        path = os.path.abspath(path)
        _read[path] = [name, os.fsencode(path), len(data), zlib.crc32(data)]
        _news.append(path)


def news() -> Iterator[list[Payload]]:
    """Yield what was read since that was last told, so much at a time as a frame may hold."""
    global _seen
    modules = list(sys.modules.items()) if len(sys.modules) != _seen else []
    _seen = len(sys.modules)
    for name, module in modules:
        _look(name, module)
    paths = list({_news.popleft(): None for _ in range(len(_news))})
    for first in range(0, len(paths), _AT_ONCE):
        yield [_read[path] for path in paths[first : first + _AT_ONCE]]


def tell_all() -> None:
    """Have all that was read be told again: this process is a child of the one that read it."""
    global _seen
    _seen = 0
    _news.extend(_read)


def import_changed(names: Sequence[str]) -> None:
    """Import modules that have changed, so that one with a mistake fails here and not in a call.

    One that is no more, or is not to be found before other code has run, is left out.
    """
    for name in names:
        if name == _MAIN:
            load_module(name)
            continue
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if not (name == missing or name.startswith(missing + ".")):
                raise


def _look(name: str, module: ModuleType) -> None:
    # Not all that stands in sys.modules is a module, and what is may run code when it is asked.
    spec = getattr(module, "__spec__", None) if type(module) is ModuleType else None
    path = spec.origin if spec is not None and spec.has_location else None
    if path is None or not _is_project(path) or os.path.abspath(path) in _read:
        return
    try:
        with open(path, "rb") as file:
            note(name, path, file.read())
    except OSError:
        # A module in an archive, say.
        pass


def _is_project(path: str) -> bool:
    if _PACKAGES.intersection(path.split(os.sep)):
        return False
    return not os.path.realpath(path).startswith(_not_watched)
