"""The Python half of Slither: workers, views and transport for BEAM pipelines.

A handler is registered with :func:`slither.worker.batch_handler` and reads BEAM state through
:mod:`slither.views` and :mod:`slither.store`. This module holds only what all need: the errors
and :class:`Tensor`.
"""

from slither._errors import (
    DecodeError,
    EncodeError,
    InvalidParams,
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
    from slither._tensor import Tensor

__all__ = [
    "DecodeError",
    "EncodeError",
    "InvalidParams",
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
]


def __getattr__(name: str) -> object:
    # `dataclasses` costs more than the rest of the package: load it when Tensor is wanted.
    if name == "Tensor":
        from slither._tensor import Tensor

        return Tensor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
