"""What user code registers: commands, start hooks and stop hooks, once per process."""

from __future__ import annotations

from collections.abc import Callable

from slither._types import Payload

Handler = Callable[..., Payload]
Hook = Callable[[], object]

# Marks a function that takes one item, not a list.
ITEM_MARK = "__slither_item_handler__"

commands: dict[str, Handler] = {}
start_hooks: dict[tuple[str, str], Hook] = {}
stop_hooks: dict[tuple[str, str], Hook] = {}


def origin(function: Callable[..., object]) -> tuple[str, str]:
    """Return what stays the same when a function's module is imported again."""
    name = getattr(function, "__qualname__", None) or repr(function)
    return (getattr(function, "__module__", None) or "", name)


def add_command(name: str, handler: Handler) -> None:
    """Register a handler, or raise ValueError when another one has the name."""
    taken = commands.get(name)
    if taken is not None and origin(taken) != origin(handler):
        there = ".".join(origin(taken))
        raise ValueError(f"the command {name!r} is already taken by {there}")
    commands[name] = handler
