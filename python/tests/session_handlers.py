"""Handlers of sessions that can move, for the tests of workers."""

from pathlib import Path

from slither import worker
from slither._types import Payload

log: list[str] = []


@worker.batch_handler
def remember(items: list[Payload]) -> list[Payload]:
    seen = worker.session().setdefault("seen", [])
    seen += items
    return [list(seen) for _ in items]


@worker.batch_handler
def remember_object(items: list[Payload]) -> list[Payload]:
    worker.session()["seen"] = [object()]
    return items


@worker.batch_handler
def wait_for(paths: list[str]) -> list[Payload]:
    """Wait until something is written to each path, a named pipe."""
    for path in paths:
        Path(path).read_text()
    return [[] for _ in paths]


@worker.batch_handler
def told(items: list[Payload]) -> list[Payload]:
    return [list(log) for _ in items]


@worker.on_session_stop
def first(state: dict[str, Payload]) -> None:
    log.append(f"first {state['seen']}")


@worker.on_session_stop
def last(state: dict[str, Payload]) -> None:
    log.append("last")
    raise ValueError("a hook that fails")


@worker.session_dump
def dump(state: dict[str, Payload]) -> Payload:
    if "trouble" in state["seen"]:
        raise ValueError("this one stays")
    return {"items": state["seen"]}


@worker.session_load
def load(value: Payload) -> dict[str, Payload]:
    if value == "odd":
        return value  # type: ignore[no-any-return]
    return {"seen": [*value["items"], "moved"]}
