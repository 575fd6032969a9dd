"""Pickling by cloudpickle, which is imported with this module: for programs with ``by_value``.

:mod:`slither._pickles` imports it for the first value that needs it, in that one's thread.
"""

from __future__ import annotations

import io
from collections import ChainMap
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, ClassVar

import cloudpickle

from slither import _by_value

_NO_FILE = "<dynamic-code>"

_code_of = cloudpickle.Pickler.dispatch_table[CodeType]


def _code(code: CodeType) -> tuple[Callable[..., CodeType], tuple[object, ...]]:
    # cloudpickle leaves out the name of the file, by which tracebacks find their lines.
    make, arguments = _code_of(code)
    return make, tuple(code.co_filename if part == _NO_FILE else part for part in arguments)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Takes apart what the other side can't import, and names the rest."""

    dispatch_table: ClassVar[ChainMap[type, Any]] = ChainMap(
        {CodeType: _code}, cloudpickle.Pickler.dispatch_table
    )

    def __init__(
        self,
        file: io.BytesIO,
        protocol: int,
        is_found: Callable[[object], bool],
        shelf: Callable[[type], tuple[str, str] | None] | None,
    ) -> None:
        """Take what says of a function or class of ``__main__`` that workers find it there.

        ``shelf`` names a class that they can fetch.
        """
        super().__init__(file, protocol=protocol)
        self._is_found, self._shelf = is_found, shelf

    def reducer_override(self, obj: object) -> object:
        """Name what is found in the script; the rest is as cloudpickle has it."""
        if (
            isinstance(obj, FunctionType | type)
            and getattr(obj, "__module__", None) == "__main__"
            and self._is_found(obj)
        ):
            return NotImplemented
        found = super().reducer_override(obj)
        if self._shelf is not None and isinstance(obj, type) and type(found) is tuple:
            of_here = obj.__module__ == "__main__" or "<locals>" in obj.__qualname__
            if of_here and (kept := self._shelf(obj)) is not None:
                return _by_value.fetch, kept
        return found


def dumps(
    value: object,
    protocol: int,
    is_found: Callable[[object], bool],
    shelf: Callable[[type], tuple[str, str] | None] | None,
) -> bytes:
    """Return a pickle."""
    file = io.BytesIO()
    Pickler(file, protocol, is_found, shelf).dump(value)
    return file.getvalue()
