"""Draws the curves of the scale bench: a PNG and an SVG of each, beside the file of figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Draw what a file holds."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plots: matplotlib is not installed")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "slither"
    path = Path(sys.argv[1])
    for series in json.loads(path.read_text()):
        figure, axes = plt.subplots(figsize=(6, 3.6))
        at = [point[0] for point in series["points"]]
        for index, line in enumerate(series["lines"], 1):
            axes.plot(at, [point[index] for point in series["points"]], marker="o", label=line)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(series["x"])
        axes.set_ylabel(series["y"])
        axes.grid(True, which="both", alpha=0.25)
        axes.legend()
        figure.tight_layout()
        for kind in ("png", "svg"):
            target = path.with_name(f"scale-{series['name']}.{kind}")
            figure.savefig(target, metadata={"Date": None} if kind == "svg" else None)
            print(f"written to {target}")
        plt.close(figure)


if __name__ == "__main__":
    main()
