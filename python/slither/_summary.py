"""The account of a run, as a program reads it: plain data, made by the driver's runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from slither._figures import aligned, number, share, time
from slither._types import Payload

PHASES = ("rate", "queue", "encode", "wire", "decode", "handler", "reorder")

# What is narrow, and what to try, by BEAM's word for it.
_NARROW = {
    "handler": ("the handler", "a faster function, or more batches at once (max_in_flight=)"),
    "values": ("encoding and decoding", "less data in each item, or arrays and tables of Arrow"),
    "wire": ("the way to the worker and back", 'larger batches (batch_size="auto")'),
    "turn": (
        "the wait for the turn of a batch",
        'smaller batches, or ordering="as_completed"',
    ),
    "rate": (
        "the rate limit",
        "a higher rate=, if the other side takes it; more workers change nothing",
    ),
    "workers": (
        "the wait for a worker",
        "more workers or cores: others have these, they still start, or a session waits",
    ),
}
_MORE_WORKERS = "more workers, up to the cores, or a faster function"


@dataclass(frozen=True)
class Summary:
    """What became of a run's items.

    ``items`` were taken from the input; ``outputs`` counts what came out, by output (a map's is
    called ``results``); ``skipped`` and ``routed`` were dropped or sent away after an error, and
    ``failed`` reached no end because the run stopped. ``errors`` counts the errors by kind.
    ``batches``, ``retries`` and ``splits`` count calls; ``seconds`` is the run's time.

    ``times`` are its parts in seconds, summed over batches, and do not overlap: ``rate`` (until
    there were tokens of a ``rate=``), ``queue`` (until a worker was free), ``encode`` and
    ``decode``, ``wire`` (to the worker and back), ``handler``,
    and ``reorder`` (until the turn of the batch). Half of the handler's calls took no longer than
    ``p50`` seconds, and 95 of 100 no longer than ``p95``; None where there were none.
    ``stages`` holds the same by stage, and ``bottleneck`` says what held the run up. ``name`` is
    the pipe's, or what was called. A summary prints as a table.
    """

    items: int = 0
    outputs: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    routed: int = 0
    failed: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    retries: int = 0
    splits: int = 0
    seconds: float = 0.0
    times: dict[str, float] = field(default_factory=dict)
    stages: dict[str, Summary] = field(default_factory=dict)
    p50: float | None = None
    p95: float | None = None
    name: str = ""
    bottleneck: str = ""

    @property
    def shares(self) -> dict[str, float]:
        """The share that each of the times has of all, from 0 to 1."""
        all_of_it = sum(self.times.values()) or 1.0
        return {phase: took / all_of_it for phase, took in self.times.items()}

    def __str__(self) -> str:
        """Show the account as a table, with what held the run up in its last line."""
        name = f"{self.name}: " if self.name else ""
        lines = [f"{name}{self.items:,} items in {time(self.seconds)}"]
        lines += [f"  {output:<12} {count:,}" for output, count in self.outputs.items()]
        for word in ("skipped", "routed", "failed"):
            if count := getattr(self, word):
                lines.append(f"  {word:<12} {count:,}")
        lines += [f"  error: {kind} {count:,}" for kind, count in self.errors.items()]
        if self.batches:
            lines.append(f"  {self.batches:,} calls, {self.retries:,} retries")
        if self.times:
            lines += ["", *table(self.stages or {self.name or "all": self})]
        if self.bottleneck:
            lines += ["", f"bottleneck: {self.bottleneck}"]
        return "\n".join(lines)


_HEAD = ("stage", "items", "errors", "calls", "p50", "p95")


def table(stages: dict[str, Summary]) -> list[str]:
    """Return the lines of a table of stages: where the time of each went."""
    # Few runs have a rate.
    rated = any(part.times.get("rate") for part in stages.values())
    phases = PHASES if rated else PHASES[1:]
    return aligned([(*_HEAD, *phases), *(_row(*row, phases) for row in stages.items())])


def _row(name: str, part: Summary, phases: tuple[str, ...]) -> tuple[str, ...]:
    shares = part.shares
    return (
        name,
        f"{part.items:,}",
        f"{sum(part.errors.values()):,}",
        f"{part.batches:,}" if part.batches else "-",
        time(part.p50),
        time(part.p95),
        *(share(shares[phase]) if shares.get(phase) else "-" for phase in phases),
    )


def _bottleneck(found: dict[str, Payload] | None) -> str:
    if found is None:
        return ""
    of_time = share(found["share"])
    if found["what"] == "input":
        hint = "a faster input, or read the results faster"
        return f"no stage, as a call went on for {of_time} of the time; try {hint}"
    what, hint = _NARROW[found["what"]]
    stage = _shown(found["stage"])
    where = f"{what} of {stage}" if stage else what
    waits = ""
    if found["what"] in ("handler", "values", "wire") and found["waits"] >= 1:
        waits = f", and batches wait {number(found['waits'])} times as long for a worker"
        hint = _MORE_WORKERS if found["what"] == "handler" else hint
    return f"{where} ({of_time} of its time){waits}; try {hint}"


def _shown(name: str | None) -> str:
    # What stands for a function that went to the workers by value is none of the user's names.
    return "" if name is None or name.startswith("slither._") else name


def summarize(
    receipt: dict[str, Payload],
    outputs: dict[str, int],
    errors: dict[str, int],
    refused: int = 0,
) -> Summary:
    """Make the summary of a receipt; ``refused`` items never reached BEAM."""
    times = {name: took / 1e6 for name, took in receipt.get("times", {}).items()}
    counts = ("routed", "failed", "batches", "retries", "splits")
    p50, p95 = (receipt.get(name) for name in ("p50", "p95"))
    return Summary(
        items=receipt.get("in", 0) + refused,
        outputs=dict(outputs),
        skipped=receipt.get("skipped", 0) + refused,
        errors=dict(errors),
        seconds=receipt.get("duration", 0) / 1e6,
        times=times,
        **{name: receipt.get(name, 0) for name in counts},
        stages={
            name: summarize(part, {}, part.get("errors", {}))
            for name, part in receipt.get("stages", ())
        },
        p50=None if p50 is None else p50 / 1e6,
        p95=None if p95 is None else p95 / 1e6,
        name=_shown(receipt.get("name")),
        bottleneck=_bottleneck(receipt.get("bottleneck")),
    )
