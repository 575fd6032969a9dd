"""Handlers on asyncio."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar

from slither import store, views
from slither._types import Payload
from slither.worker import Failure, cancelled, context, item_handler, progress, session

log: list[str] = []
loops: list[int] = []
kept: set[asyncio.Task[None]] = set()
seen: ContextVar[str] = ContextVar("seen", default="nothing")


async def double(items: list[int]) -> list[int]:
    await asyncio.sleep(0)
    return [2 * item for item in items]


async def loop_ids(items: list[Payload]) -> list[int]:
    return [id(asyncio.get_running_loop()) for _ in items]


async def fails(items: list[Payload]) -> list[Payload]:
    await asyncio.sleep(0)
    raise ValueError(f"no {items[0]}")


async def exits(items: list[Payload]) -> list[Payload]:
    raise SystemExit(3)


async def nothing(items: list[Payload]) -> None:
    return None


async def asks(items: list[Payload]) -> list[Payload]:
    return [await asyncio.to_thread(views.call, "v", item) for item in items]


async def asks_at_once(items: list[Payload]) -> list[Payload]:
    return await asyncio.gather(*(asyncio.to_thread(views.call, "v", item) for item in items))


async def asks_and_blocks(items: list[Payload]) -> list[Payload]:
    return [[views.call("v", item), store.table("t")[item]] for item in items]


async def knows_its_call(items: list[Payload]) -> list[Payload]:
    await asyncio.sleep(0)
    state = session()
    state["calls"] = state.get("calls", 0) + 1
    here = context()
    return [[here.run, here.session, here.batch, state["calls"], cancelled()] for _ in items]


async def until_cancelled(items: list[str]) -> list[Payload]:
    progress(0)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        # One cancel, however much comes after it: what follows may wait.
        for _ in range(3):
            await asyncio.sleep(0)
        log.append(f"cancelled, {cancelled()}")
        raise
    return items


async def until_cancelled_in_parts(items: list[str]) -> list[Payload]:
    async def part(item: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append(item)

    tasks = [asyncio.create_task(part(item)) for item in items]
    await asyncio.sleep(0)
    progress(0)
    await asyncio.wait(tasks)
    return items


async def leaves_a_task(items: list[Payload]) -> list[Payload]:
    async def stay() -> None:
        try:
            while True:
                await asyncio.sleep(0)
                log.append("still here")
        finally:
            log.append("ended")

    kept.add(asyncio.create_task(stay()))
    await asyncio.sleep(0)
    return items


async def leaves_a_stubborn_task(items: list[Payload]) -> list[Payload]:
    async def stay() -> None:
        while True:
            try:
                await asyncio.sleep(0.001)
                log.append("still here")
            except asyncio.CancelledError:
                pass

    kept.add(asyncio.create_task(stay()))
    await asyncio.sleep(0)
    return items


def told(items: list[Payload]) -> list[Payload]:
    taken = list(log)
    log.clear()
    return [taken for _ in items]


async def told_later(items: list[Payload]) -> list[Payload]:
    for _ in range(10):
        await asyncio.sleep(0)
    return told(items)


async def sets_a_variable(items: list[str]) -> list[str]:
    before = seen.get()
    seen.set(items[0])
    return [before for _ in items]


async def logs(items: list[str]) -> list[str]:
    for item in items:
        logging.getLogger("mine").info("said %s", item)
    return items


running = 0
most = 0


@item_handler("at-once", concurrency=3)
async def at_once(item: int) -> int:
    """Says how many of its kind have been running at most."""
    global running, most
    running += 1
    most = max(most, running)
    for _ in range(5):
        await asyncio.sleep(0)
    running -= 1
    return most


@item_handler
async def waits_for_the_last(item: Payload) -> Payload:
    """Every item but the last waits until that one has run."""
    event: asyncio.Event = session().setdefault("event", asyncio.Event())
    if item == "last":
        event.set()
    await event.wait()
    return item


@item_handler(concurrency=2)
async def picky(item: Payload) -> Payload:
    await asyncio.sleep(0)
    if item == "raise":
        raise ValueError("not this one")
    if item == "cancel":
        raise asyncio.CancelledError
    if item == "exit":
        raise SystemExit(1)
    if item == "set":
        return range(1)
    return Failure("as told") if item == "fail" else item


@item_handler
def sometimes(item: int) -> Payload:
    """A coroutine for odd numbers."""

    async def later() -> int:
        await asyncio.sleep(0)
        return item

    return later() if item % 2 else item


@item_handler
async def item_until_cancelled(item: str) -> None:
    progress(0)
    try:
        await asyncio.Event().wait()
    finally:
        log.append(item)


async def triple(number: int, plus: int = 0) -> int:
    await asyncio.sleep(0)
    if number == 0:
        raise ValueError("nothing to triple")
    return 3 * number + plus
