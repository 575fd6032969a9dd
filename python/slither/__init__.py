"""The Python half of Slither: workers, views and transport for BEAM pipelines.

A handler is registered with :func:`slither.worker.batch_handler` and reads BEAM state through
:mod:`slither.views` and :mod:`slither.store`. A pipe is described with :class:`Pipe`, and what
BEAM computes in it with :data:`item` and :func:`when`; see :mod:`slither.pipe`. This module holds
only what all need: the errors and :class:`Tensor`.
"""

from slither._errors import (
    DecodeError,
    EncodeError,
    ExpressionError,
    InvalidParams,
    PipeError,
    ProtocolError,
    SessionEnded,
    SlitherError,
    TableError,
    TableRefused,
    UnknownTable,
    UnknownView,
    ViewBusy,
    ViewError,
    ViewFailed,
    ViewTimeout,
)
from slither._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slither._expression import item, when
    from slither._tensor import Tensor
    from slither.pipe import Pipe

__all__ = [
    "DecodeError",
    "EncodeError",
    "ExpressionError",
    "InvalidParams",
    "Pipe",
    "PipeError",
    "ProtocolError",
    "SessionEnded",
    "SlitherError",
    "TableError",
    "TableRefused",
    "Tensor",
    "UnknownTable",
    "UnknownView",
    "ViewBusy",
    "ViewError",
    "ViewFailed",
    "ViewTimeout",
    "__version__",
    "item",
    "when",
]

_LAZY = {
    "Pipe": "slither.pipe",
    "Tensor": "slither._tensor",
    "item": "slither._expression",
    "when": "slither._expression",
}


def __getattr__(name: str) -> object:
    # What workers need when they start is above; the rest is loaded when it is wanted
    # (`dataclasses` alone, which Tensor takes, costs more than the package).
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
