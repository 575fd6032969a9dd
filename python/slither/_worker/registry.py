"""What user code registers: commands, start hooks and stop hooks, once per process.

Filled by the decorators of :mod:`slither.worker` as modules are imported, and read by the main
thread for each call.
"""

from __future__ import annotations

from collections.abc import Callable

from slither import _references
from slither._types import Payload

Handler = Callable[..., Payload]
Hook = Callable[[], object]
StateHook = Callable[[dict[str, Payload]], object]

ITEM_MARK = _references.ITEM_MARK
# How many items a function of one item may have in hand at once, where nobody says it.
CONCURRENCY = 16

commands: dict[str, Handler] = {}
template_hooks: dict[tuple[str, str], Hook] = {}
start_hooks: dict[tuple[str, str], Hook] = {}
stop_hooks: dict[tuple[str, str], Hook] = {}
session_stop_hooks: dict[tuple[str, str], StateHook] = {}
# The pair of functions that move a session, under "dump" and "load".
session_pair: dict[str, Callable[..., Payload]] = {}


def origin(function: Callable[..., object]) -> tuple[str, str]:
    """Return what stays the same when a function's module is imported again."""
    name = getattr(function, "__qualname__", None) or repr(function)
    return (getattr(function, "__module__", None) or "", name)


def add_command(name: str, handler: Handler) -> None:
    """Register a handler, or raise ValueError when another one has the name."""
    _add(commands, name, handler, f"the command {name!r}")


def add_session_function(name: str, function: Callable[..., Payload]) -> None:
    """Register one of the pair, or raise ValueError when there is another."""
    _add(session_pair, name, function, f"session_{name}")


def _add(
    table: dict[str, Callable[..., Payload]], name: str, one: Callable[..., Payload], what: str
) -> None:
    taken = table.get(name)
    if taken is not None and origin(taken) != origin(one):
        raise ValueError(f"{what} is already taken by {'.'.join(origin(taken))}")
    table[name] = one
