"""Checked by mypy: the decorators keep a function's exact signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slither.worker import batch_handler, item_handler, on_start


@batch_handler
def bare(items: list[int]) -> list[str]:
    return [str(item) for item in items]


@batch_handler("typed_named")
def named(items: list[int], scale: float = 1.0) -> list[float]:
    return [item * scale for item in items]


@on_start
def prepare() -> None:
    return None


@item_handler
def typed_item(item: int) -> str:
    return str(item)


@item_handler("typed_item_named")
def typed_item_named(item: str) -> int:
    return len(item)


if TYPE_CHECKING:
    from typing_extensions import assert_type

    assert_type(bare([1]), list[str])
    assert_type(named([1], scale=2.0), list[float])
    exact: Callable[[list[int]], list[str]] = bare
    wrong: Callable[[list[str]], list[str]] = bare  # type: ignore[assignment]
    started: Callable[[], None] = prepare
    assert_type(typed_item(1), str)
    assert_type(typed_item_named("a"), int)
