"""Numbers as a person reads them, and tables of them: for summaries and statuses that print."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[tuple[str, ...]], left: Collection[int] = (0,)) -> list[str]:
    """Return rows as lines whose columns stand below each other, those of ``left`` to the left.

    >>> aligned([("stage", "items"), ("a", "7")])
    ['stage  items', 'a          7']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def share(part: float) -> str:
    """Return a share of 0 to 1 as a percentage.

    >>> [share(part) for part in (0, 0.004, 0.42, 0.999, 1)]
    ['0 %', '< 1 %', '42 %', '99 %', '100 %']
    """
    if 0 < part < 0.01:
        return "< 1 %"
    return f"{round(part * 100) if part >= 1 else min(round(part * 100), 99)} %"


def time(seconds: float | None) -> str:
    """Return how long something took.

    >>> [time(seconds) for seconds in (None, 0, 0.0000124, 0.0456, 41.2, 61, 7_260)]
    ['-', '0 µs', '12 µs', '46 ms', '41 s', '1 min 1 s', '2 h 1 min']
    """
    if seconds is None:
        return "-"
    if seconds >= 60:
        minutes, rest = divmod(int(seconds), 60)
        return (
            f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
        )
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds * 1e6)} µs" if seconds else "0 µs"


def number(value: float) -> str:
    """Return a number with two digits at least.

    >>> number(1.24), number(31.2)
    ('1.2', '31')
    """
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
