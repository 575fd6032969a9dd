"""The account of a run, as a program reads it: plain data, made by the driver's runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from slither._types import Payload


@dataclass(frozen=True)
class Summary:
    """What became of a run's items.

    ``items`` were taken from the input; ``outputs`` counts what came out, by output (a map's is
    called ``results``); ``skipped`` and ``routed`` were dropped or sent away after an error, and
    ``failed`` reached no end because the run stopped. ``errors`` counts the errors by kind.
    ``batches``, ``retries`` and ``splits`` count calls; ``seconds`` is the run's time and
    ``times`` its parts in seconds, summed over batches. ``stages`` holds the same by stage.
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

    def __str__(self) -> str:
        """Show the account on a few lines."""
        lines = [f"{self.items} items in {self.seconds:.2f} s"]
        for name, count in self.outputs.items():
            lines.append(f"  {name:<12} {count}")
        for word in ("skipped", "routed", "failed"):
            if count := getattr(self, word):
                lines.append(f"  {word:<12} {count}")
        lines += [f"  error: {kind} {count}" for kind, count in self.errors.items()]
        if self.batches:
            lines.append(f"  {self.batches} calls, {self.retries} retries")
        return "\n".join(lines)


def summarize(
    receipt: dict[str, Payload],
    outputs: dict[str, int],
    errors: dict[str, int],
    refused: int = 0,
) -> Summary:
    """Make the summary of a receipt; ``refused`` items never reached BEAM."""
    times = {name: time / 1e6 for name, time in receipt.get("times", {}).items()}
    counts = ("routed", "failed", "batches", "retries", "splits")
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
    )
