"""What workers import from: this program's ``sys.path``, in its order.

Called in the thread that makes a Beam; reads the state of the interpreter, and changes nothing.
"""

from __future__ import annotations

import os
import shutil
import site
import sys
import sysconfig

from slither._wire.faults import clean

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_VARIABLE = "PYTHONPATH"


def search_path(python: str) -> list[str]:
    """Return the folders and archives that workers search first, in this order.

    All of this program's, the standard library's among them: were some left out, those would
    come after the others, and a module that is in two places would be another one in a worker.
    """
    entries = [entry for entry in sys.path if isinstance(entry, str)]
    if not _is_this(python):
        # Another interpreter has its own packages, so it gets only the folder of the script.
        entries = entries[:1]
    return _unique(entries)


def environment(given: dict[str, str | None], python: str) -> dict[str, str | None]:
    """Return the workers' variables, with which they find this same package.

    Folders of a ``PYTHONPATH`` that is given stay behind the package's.
    """
    inherited = given[_VARIABLE] if _VARIABLE in given else os.environ.get(_VARIABLE)
    parent = os.path.dirname(_PACKAGE)
    # A worker has the packages' folders by itself. Named here they would come before its standard
    # library, and a system's before those of the environment that is to hide them.
    # Another interpreter is to have its own, Slither among them.
    kept = [] if os.path.realpath(parent) in _of_packages(python) else [parent]
    path = os.pathsep.join(kept + ([inherited] if inherited else []))
    return {**given, _VARIABLE: path or None}


def given_path(given: dict[str, str | None]) -> list[str]:
    """Return the folders of a ``PYTHONPATH`` that is given to the workers alone."""
    return _unique((given.get(_VARIABLE) or "").split(os.pathsep)) if given.get(_VARIABLE) else []


def _unique(entries: list[str]) -> list[str]:
    kept: dict[str, None] = {}
    for entry in entries:
        try:
            path = os.path.abspath(entry)
        except FileNotFoundError:
            # Somebody deleted the folder that the program runs in.
            continue
        # A name that is no text can't be told to BEAM.
        if clean(path) == path:
            kept[path] = None
    return list(kept)


def _is_this(python: str) -> bool:
    there = shutil.which(python) or python
    if os.path.realpath(there) != os.path.realpath(sys.executable):
        return False
    # The interpreters of two environments are links to the same file.
    return _environment(there) == _environment(sys.executable)


def _environment(python: str) -> str | None:
    folder = os.path.realpath(os.path.dirname(os.path.abspath(python)))
    for place in (folder, os.path.dirname(folder)):
        if os.path.isfile(os.path.join(place, "pyvenv.cfg")):
            return place
    return None


def _of_packages(python: str) -> set[str]:
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if _is_this(python):
        folders += site.getsitepackages()
        if site.ENABLE_USER_SITE:
            folders.append(site.getusersitepackages())
    return {os.path.realpath(folder) for folder in folders}
