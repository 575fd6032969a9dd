"""The Python half of Slither: workers, views and transport for BEAM pipelines.

A program drives a BEAM of its own with :class:`Beam`. A handler is registered with
:func:`slither.worker.batch_handler` and reads BEAM state through :mod:`slither.views` and
:mod:`slither.store`. A pipe is described with :class:`Pipe`, and what BEAM computes in it with
:data:`item` and :func:`when`; see :mod:`slither.pipe`. Beside these, this module holds what all
need: the errors, and :func:`register`, :class:`Tagged`, :class:`Tensor` and :class:`Arrow` for
values.
"""

from slither._errors import (
    BeamClosed,
    BeamDied,
    BeamError,
    BeamMissing,
    CallError,
    CallKilled,
    CallTimeout,
    DecodeError,
    EncodeError,
    ExpressionError,
    HandlerError,
    InvalidParams,
    MemoryExceeded,
    NotImportable,
    PayloadError,
    PipeError,
    ProtocolError,
    RunError,
    SessionEnded,
    SlitherError,
    TableError,
    TableRefused,
    UnknownBlob,
    UnknownTable,
    UnknownView,
    ViewBusy,
    ViewError,
    ViewFailed,
    ViewTimeout,
    WorkerDied,
)
from slither._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from slither import logs as logs
    from slither import metrics as metrics
    from slither import pipe as pipe
    from slither import store as store
    from slither import testing as testing
    from slither import views as views
    from slither import worker as worker
    from slither._driver.beam import Beam
    from slither._driver.blobs import Blob
    from slither._driver.dashboards import DashboardOptions
    from slither._driver.executor import Executor
    from slither._driver.futures import CallFuture
    from slither._driver.gathers import Gather
    from slither._driver.pool_options import PoolOptions
    from slither._driver.results import AsyncResults, Results
    from slither._driver.settings import MapOptions
    from slither._outputs import Outputs
    from slither._pipe.expression import Expression, item, when
    from slither._pipe.options import Policy
    from slither._rate import Rate
    from slither._status import RunningCall, SizeChange, Status, WorkerStatus
    from slither._summary import Summary
    from slither._wire.tensor import Tensor
    from slither._wire.types.arrow import Arrow
    from slither._wire.types.table import register
    from slither._wire.types.tagged import Tagged
    from slither.pipe import Pipe
    from slither.store import Table
    from slither.worker import Context

__all__ = [
    "Arrow",
    "AsyncResults",
    "Beam",
    "BeamClosed",
    "BeamDied",
    "BeamError",
    "BeamMissing",
    "Blob",
    "CallError",
    "CallFuture",
    "CallKilled",
    "CallTimeout",
    "Context",
    "DashboardOptions",
    "DecodeError",
    "EncodeError",
    "Executor",
    "Expression",
    "ExpressionError",
    "Gather",
    "HandlerError",
    "InvalidParams",
    "MapOptions",
    "MemoryExceeded",
    "NotImportable",
    "Outputs",
    "PayloadError",
    "Pipe",
    "PipeError",
    "Policy",
    "PoolOptions",
    "ProtocolError",
    "Rate",
    "Results",
    "RunError",
    "RunningCall",
    "SessionEnded",
    "SizeChange",
    "SlitherError",
    "Status",
    "Summary",
    "Table",
    "TableError",
    "TableRefused",
    "Tagged",
    "Tensor",
    "UnknownBlob",
    "UnknownTable",
    "UnknownView",
    "ViewBusy",
    "ViewError",
    "ViewFailed",
    "ViewTimeout",
    "WorkerDied",
    "WorkerStatus",
    "__version__",
    "item",
    "register",
    "when",
]

_LAZY = {
    "Arrow": "slither._wire.types.arrow",
    "AsyncResults": "slither._driver.results",
    "Beam": "slither._driver.beam",
    "Blob": "slither._driver.blobs",
    "CallFuture": "slither._driver.futures",
    "Context": "slither.worker",
    "DashboardOptions": "slither._driver.dashboards",
    "Executor": "slither._driver.executor",
    "Expression": "slither._pipe.expression",
    "MapOptions": "slither._driver.settings",
    "Outputs": "slither._outputs",
    "Gather": "slither._driver.gathers",
    "Pipe": "slither.pipe",
    "Policy": "slither._pipe.options",
    "PoolOptions": "slither._driver.pool_options",
    "Rate": "slither._rate",
    "Results": "slither._driver.results",
    "RunningCall": "slither._status",
    "SizeChange": "slither._status",
    "Status": "slither._status",
    "Summary": "slither._summary",
    "Table": "slither.store",
    "Tagged": "slither._wire.types.tagged",
    "Tensor": "slither._wire.tensor",
    "WorkerStatus": "slither._status",
    "item": "slither._pipe.expression",
    "register": "slither._wire.types.table",
    "when": "slither._pipe.expression",
}

# These are loaded when they are named, so that `import slither` is enough for slither.pipe.retry.
_MODULES = frozenset({"logs", "metrics", "pipe", "store", "testing", "views", "worker"})


# Type checkers see the imports above, and know a name that is misspelt.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # Workers need what is above when they start. The rest is loaded when somebody names it,
        # for `dataclasses` alone, which Tensor needs, costs more than the package.
        if name in _LAZY or name in _MODULES:
            from importlib import import_module

            if name in _MODULES:
                return import_module(f"slither.{name}")
            return getattr(import_module(_LAZY[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
