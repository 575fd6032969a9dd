"""Pipes drawn from their documents: as text, and as a Mermaid flowchart.

Pure; called by ``slither check``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from slither._pipe.document import routed
from slither._pipe.render import render
from slither._types import Payload

Document = dict[str, "Payload"]


def text(document: Document) -> str:
    """Draw a pipe as lines of text: a stage each, with its routes and its error policy."""
    lines = [f"pipe {document['name']}", *_stage_lines(document, "  ")]
    lines.append(f"  outputs: {', '.join([*document['outputs'], 'default'])}")
    for store in document.get("stores", ()):
        lines.append(f"  store {store['name']}: table {store['table']}")
    everything = _policies(document).get("*")
    if everything is not None:
        lines.append(f"  on error elsewhere: {_policy(everything)}")
    return "\n".join(lines)


def _stage_lines(document: Document, indent: str) -> Iterator[str]:
    policies = _policies(document)
    width = max(len(stage["name"]) for stage in document["stages"])
    for stage in document["stages"]:
        head = f"{indent}{stage['name']:<{width}}  {stage['type']:<6}"
        rest = indent + " " * (width + 10)
        yield f"{head}  {_what(stage)}".rstrip()
        for entry in stage.get("routes", ()):
            yield f"{rest}{render(entry['when'])} -> {entry['to']}"
        if stage["type"] == "pipe":
            yield from _stage_lines(stage["pipe"], indent + "    ")
            for inner in stage["pipe"]["outputs"]:
                yield f"{rest}{inner} -> {stage['outputs'].get(inner, inner)}"
        if stage["name"] in policies:
            yield f"{rest}on error: {_policy(policies[stage['name']])}"


def _what(stage: Document) -> str:
    options = [f"{name}={render(value)}" for name, value in stage.get("options", {}).items()]
    if "module" in stage:
        runs = f"{stage['module']}:{stage['function']}"
        if stage.get("takes") == "item":
            options.insert(0, "each=True")
    elif stage["type"] == "python":
        runs = f"command {stage['command']}"
    elif "function" in stage:
        runs = f"function {stage['function']}"
    elif "expression" in stage:
        runs = render(stage["expression"])
    else:
        runs = ""
    return "  ".join(part for part in (runs, ", ".join(options)) if part)


def _policies(document: Document) -> dict[str, Payload]:
    return {entry["stage"]: entry["policy"] for entry in document.get("on_error", ())}


def _policy(policy: Payload) -> str:
    if isinstance(policy, str):
        return policy
    if "route" in policy:
        target = policy["route"]
        return f"-> {target if isinstance(target, str) else render(target)}"
    options = policy["retry"]
    last = _policy(options.get("then", "halt"))
    return f"retry, at most {options.get('max_attempts', 3)} attempts, then {last}"


def mermaid(document: Document) -> str:
    """Draw a pipe as a Mermaid flowchart; error policies that route are dotted."""
    return "\n".join(["flowchart TD", *_Chart(document).lines])


class _Chart:
    # Nodes are named by their places: a stage's name may be a word of Mermaid's.

    def __init__(self, document: Document) -> None:
        self.lines: list[str] = []
        names = [*document["outputs"], "default"]
        outputs = {name: f"out{index}" for index, name in enumerate(names)}
        self._line(f"begin(({_quoted(document['name'])}))")
        for name, node in outputs.items():
            self._line(f"{node}([{_quoted(name)}])")
        first = self._pipe(document, "s", outputs, outputs["default"])
        self._line(f"begin --> {first}")

    def _pipe(self, document: Document, prefix: str, outputs: dict[str, str], end: str) -> str:
        # Draws the stages, and returns the node of the first.
        stages = document["stages"]
        first = [_first(stage, f"{prefix}{index}") for index, stage in enumerate(stages)]
        policies = _policies(document)
        for index, stage in enumerate(stages):
            node = f"{prefix}{index}"
            after = first[index + 1] if index + 1 < len(stages) else end
            later = dict(zip([later["name"] for later in stages], first, strict=True))
            self._stage(stage, node, {**later, **outputs}, after)
            policy = policies.get(stage["name"], policies.get("*"))
            target = routed(policy)
            if target is not None:
                self._line(f"{node} -. error .-> {outputs[target]}")
        return first[0]

    def _stage(self, stage: Document, node: str, targets: dict[str, str], after: str) -> None:
        if stage["type"] == "pipe":
            inner = {
                name: targets[stage["outputs"].get(name, name)]
                for name in stage["pipe"]["outputs"]
            }
            self._line(f"subgraph {node} [{_quoted(stage['name'])}]")
            mark = len(self.lines)
            self._pipe(stage["pipe"], f"{node}_", {**inner, "default": after}, after)
            # A subgraph holds the nodes; edges, which lead out of it, come after its end.
            drawn = self.lines[mark:]
            del self.lines[mark:]
            self.lines += [line for line in drawn if not _is_edge(line)]
            self._line("end")
            self.lines += [line for line in drawn if _is_edge(line)]
            return
        label = f"{stage['name']}\n{stage['type']}  {_what(stage)}".rstrip()
        left, right = ("{", "}") if stage["type"] == "router" else ("[", "]")
        self._line(f"{node}{left}{_quoted(label)}{right}")
        for entry in stage.get("routes", ()):
            self._line(f"{node} -->|{_quoted(render(entry['when']))}| {targets[entry['to']]}")
        self._line(f"{node} --> {after}")

    def _line(self, line: str) -> None:
        self.lines.append(f"  {line}")


def _first(stage: Document, node: str) -> str:
    if stage["type"] != "pipe":
        return node
    return _first(stage["pipe"]["stages"][0], f"{node}_0")


def _is_edge(line: str) -> bool:
    return re.match(r"\s*\w+ (-->|-\.)", line) is not None


def _quoted(label: str) -> str:
    entities = {"&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "\n": "<br>", "#": "#35;"}
    return '"' + "".join(entities.get(char, char) for char in label) + '"'
