"""Runs a baseline: ``python run_baseline.py NAME --kind KIND --workers N --size N``.

NAME may be the path of a folder, too.
"""

import sys
import time
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if not (folder / name / "baseline.py").is_file():
        known = sorted(path.parent.name for path in folder.glob("*/baseline.py"))
        sys.exit(f"no baseline {name!r}. Baselines: {', '.join(known)}")
    # Workers that are spawned get this path, too.
    sys.path[0:1] = [str(folder / name), str(folder / "support")]

    baselines = import_module("baselines")
    began = time.perf_counter()
    baseline = import_module("baseline")
    imported = time.perf_counter() - began
    sys.exit(baselines.main(baseline, sys.argv[2:], imported))
