"""Checked by mypy: the decorators keep a function's exact signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slither import store
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

    from slither._testing.recording import Replayer
    from slither._worker.connection import Link
    from slither._worker.ports import Connection
    from slither.testing import FakeBeam

    def connections(link: Link, fake: FakeBeam, replayer: Replayer) -> list[Connection]:
        return [link, fake, replayer]

    weights: store.Table[str, float] = store.table("weights")
    assert_type(weights["a"], float)
    assert_type(weights.get("a"), float | None)
    assert_type(weights.get("a", "none"), float | str)
    assert_type(weights.get_many(["a"]), dict[str, float])
    assert_type(list(weights.values()), list[float])
    assert_type(list(weights.items()), list[tuple[str, float]])
    assert_type(weights.pop("a"), float)
    assert_type(weights.setdefault("a", 1.0), float)
    assert_type(weights.put_new("a", 1.0), bool)
    assert_type(weights.update_counter("a"), int)
    weights[1] = 1.0  # type: ignore[index]
    assert_type(bare([1]), list[str])
    assert_type(named([1], scale=2.0), list[float])
    exact: Callable[[list[int]], list[str]] = bare
    wrong: Callable[[list[str]], list[str]] = bare  # type: ignore[assignment]
    started: Callable[[], None] = prepare
    assert_type(typed_item(1), str)
    assert_type(typed_item_named("a"), int)
