"""What others want to know of a pipe's document.

Pure; called by :class:`slither.Pipe`, by the driver before a run, and by ``slither check``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from slither._options import nearest
from slither._types import Payload


class Handler(NamedTuple):
    """A function that a stage runs, and where that stage is."""

    module: str
    name: str
    pipe: str
    stage: str
    takes: str
    many: bool
    frame: bool


def stages(document: dict[str, Payload]) -> Iterator[dict[str, Payload]]:
    """Walk over the stages that run a function, those of inner pipes included."""
    for stage in document["stages"]:
        if stage["type"] == "pipe":
            yield from stages(stage["pipe"])
        elif "module" in stage:
            yield stage


def handlers(document: dict[str, Payload]) -> Iterator[Handler]:
    """Walk over the functions of all stages, those of inner pipes included."""
    for stage in document["stages"]:
        if stage["type"] == "pipe":
            yield from handlers(stage["pipe"])
        elif "module" in stage:
            found = stage["module"], stage["function"], document["name"], stage["name"]
            options = stage.get("options", {})
            many, frame = options.get("cardinality") == "many", "as" in options
            yield Handler(*found, stage.get("takes", "list"), many, frame)


def routed(policy: Payload) -> str | None:
    """Return the output that an error policy names, if it names one."""
    if isinstance(policy, dict) and "retry" in policy:
        policy = policy["retry"].get("then")
    target = policy.get("route") if isinstance(policy, dict) else None
    return target if isinstance(target, str) else None


def lost_target(document: dict[str, Payload]) -> tuple[str, str] | None:
    """Return the first statement that sends items nowhere, and why; None where all is well.

    A target may be declared after its use, so that only a whole document can be checked.
    """
    names = [stage["name"] for stage in document["stages"]]
    outputs = [*document["outputs"], "default"]
    for statement, target, later in _targets(document, names):
        if target in outputs or target in later:
            continue
        if target in names:
            return (
                statement,
                f"{statement}: {target!r} is not a later stage; an item can't go back",
            )
        near = nearest(target, {*outputs, *later})
        declared = ", ".join(map(repr, outputs))
        reason = f"output {target!r} is not declared.{near} Declared: {declared}"
        return statement, f"{statement}: {reason}; add: .output({target!r})"
    return None


def _targets(
    document: dict[str, Payload], names: list[str]
) -> Iterator[tuple[str, str, list[str]]]:
    # Gives each target with its statement, and the stages that it may name.
    for index, stage in enumerate(document["stages"]):
        statement = f"stage {stage['name']!r}"
        for entry in stage.get("routes", ()):
            yield statement, entry["to"], names[index + 1 :]
        if stage["type"] == "pipe":
            for inner in stage["pipe"]["outputs"]:
                yield statement, stage["outputs"].get(inner, inner), []
    for entry in document.get("on_error", ()):
        if (target := routed(entry["policy"])) is not None:
            yield f"on_error {entry['stage']!r}", target, []
