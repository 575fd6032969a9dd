"""Checked by mypy: it refuses the lines that say so, and no others.

A line that it accepted would be an unused ``type: ignore``, and an error of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from slither import Pipe, item, when
from slither._pipe.expression import Expression
from slither.pipe import retry, route
from slither.worker import batch_handler, item_handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import assert_type


def good(rows: list[dict[str, str]]) -> list[float]:
    return [1.0 for _ in rows]


def wide(rows: Sequence[object]) -> list[object]:
    return list(rows)


def optional(rows: list[int], scale: int = 1) -> list[int]:
    return [row * scale for row in rows]


async def coroutine(rows: list[int]) -> list[int]:
    return rows


def generator(rows: list[int]) -> Iterator[int]:
    yield from rows


async def async_generator(rows: list[int]) -> AsyncIterator[int]:
    for row in rows:
        yield row


@batch_handler("typed_pipe.registered")
def registered(rows: list[int]) -> list[int]:
    return rows


@item_handler("typed_pipe.single")
def single(row: int) -> str:
    return str(row)


def takes_one(row: int) -> int:
    return row


def takes_a_str(row: str) -> list[str]:
    return [row]


def gives_a_dict(rows: list[int]) -> dict[str, int]:
    return {str(row): row for row in rows}


def gives_a_str(rows: list[str]) -> str:
    return "".join(rows)


def gives_nothing(rows: list[int]) -> None:
    rows.clear()


def takes_two(rows: list[int], more: list[int]) -> list[int]:
    return rows + more


p = Pipe("p")
if TYPE_CHECKING:
    assert_type(p, Pipe)
    assert_type(p.python("x", good), Pipe)
    assert_type(p.beam("x", {"a": item, "b": [item["c"], 1]}), Pipe)
    assert_type(item["a"] > 1, Expression)
    assert_type(item["a"] == "b", Expression)
    assert_type((item["a"] > 1) & ~item["b"].is_none(), Expression)
    assert_type(when(item["a"] > 1).then(1).otherwise({"a": item}), Expression)
    assert_type(1 - item["a"].len(), Expression)

    p.python("x", good, batch_size=32, max_in_flight=4, ordering="preserve")
    p.python("x", wide, batch_size="auto", timeout=None)
    p.python("x", wide, timeout=2.5, item_timeout=1, queue_timeout=None)
    p.python("x", optional, key=item["user"], window=10)
    p.python("x", good, cardinality="many")
    p.python("x", good, cardinality="few")  # type: ignore[call-overload]
    p.python("x", coroutine)
    p.python("x", generator)
    p.python("x", async_generator)
    p.python("x", registered, weight=item["text"].len(), max_weight=10)
    p.python("x", "module:function")
    p.python("x", single)
    p.python("x", takes_one)
    p.python("x", takes_a_str, each=True)
    p.python("x", good, each=False)
    p.python("x", coroutine, each=False)
    p.python("x", async_generator, each=False)
    p.python("x", "module:function", each=True)
    p.python("x", "module:function", each=False)
    p.python("x", command="registered")
    p.route("r", accept=item["score"] >= 0.8).output("accept")
    p.on_error("x", "skip").on_error("y", route("bad")).on_error("z", retry(max_attempts=2))
    p.on_error("x", retry(then=route("bad"), base=0.5, max=30))
    p.store("features", "features").batch("b", size=3, timeout=None).pipe("q", p, {"a": "b"})

    p.python("x", takes_one, each=False)  # type: ignore[call-overload]
    p.python("x", takes_a_str, each=False)  # type: ignore[call-overload]
    p.python("x", gives_a_dict, each=False)  # type: ignore[call-overload]
    p.python("x", gives_a_str, each=False)  # type: ignore[call-overload]
    p.python("x", gives_nothing, each=False)  # type: ignore[call-overload]
    p.python("x", len, each=False)  # type: ignore[call-overload]
    p.python("x", each=single)  # type: ignore[call-overload]
    p.python("x", takes_two)  # type: ignore[arg-type]
    p.python("x", item["a"])  # type: ignore[call-overload]
    p.python("x", 5)  # type: ignore[call-overload]
    p.python("x", good, batchsize=3)  # type: ignore[call-overload]
    p.python("x", good, batch_size="all")  # type: ignore[call-overload]
    p.python("x", good, item_timeout="1 s")  # type: ignore[call-overload]
    p.python("x", good, ordering="none")  # type: ignore[call-overload]
    p.beam("x", good)  # type: ignore[arg-type]
    p.beam("x", {1, 2})  # type: ignore[arg-type]
    p.beam("x", item, cardinality="two")  # type: ignore[arg-type]
    p.on_error("x", "drop")  # type: ignore[arg-type]
    p.on_error("x", retry(base_ms=3))  # type: ignore[call-arg]
    p.on_error("x", retry(attempts=3))  # type: ignore[call-arg]
    p.route("r", accept=good)  # type: ignore[arg-type]
    p.pipe("q", "other")  # type: ignore[arg-type]
