"""The workload: small dictionaries, and a handler that gives them back."""

from __future__ import annotations

ITEMS = 20_000
CHUNK = 64
WORKERS = 2


def items(count: int) -> list[dict[str, object]]:
    """Make ``count`` items."""
    return [{"id": n, "text": f"some text of the item {n}", "score": n / 3} for n in range(count)]


def same(item: dict[str, object]) -> dict[str, object]:
    """Give one item back."""
    return item


def same_batch(batch: list[dict[str, object]]) -> list[dict[str, object]]:
    """Give a batch back."""
    return batch
