"""Has a worker go without msgspec, as where it is not installed."""

import sys

sys.modules["msgspec"] = None  # type: ignore[assignment]
