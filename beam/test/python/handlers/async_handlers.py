"""Handlers on asyncio, for the tests of pools."""

import asyncio
import os

from slither import store, views
from slither.worker import context, item_handler, progress, session

kept = set()


async def double(numbers):
    await asyncio.sleep(0)
    return [2 * number for number in numbers]


async def raises(values):
    await asyncio.sleep(0)
    raise ValueError(f"no luck with {values[0]}")


async def asks(keys):
    return [[views.async_test_view(key=key), store.table("async_rows")[key]] for key in keys]


async def asks_at_once(keys):
    async def ask(key):
        return await asyncio.to_thread(views.async_test_view, key=key)

    return await asyncio.gather(*map(ask, keys))


async def counts(values):
    state = session()
    await asyncio.sleep(0)
    state["calls"] = state.get("calls", 0) + 1
    return [[context().batch, state["calls"]] for _ in values]


async def pids(values):
    return [os.getpid() for _ in values]


async def heed(paths):
    """Waits for ever, and leaves word when it is cancelled."""
    progress(0)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        for path in paths:
            with open(path, "w") as file:
                file.write("cancelled")
        raise


async def ignores(values):
    progress(0)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def leaves_a_task(paths):
    """The task would write to its file once another call runs on the loop."""

    async def stay(path):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with open(path, "w") as file:
            file.write("still here")

    kept.update(asyncio.create_task(stay(path)) for path in paths)
    return paths


@item_handler
async def item(number):
    await asyncio.sleep(0)
    if number % 5 == 0:
        raise ValueError(f"item {number}")
    return number


class Meeting:
    """All of a batch's items are here before any goes on."""

    def __init__(self):
        self.here = 0
        self.all = asyncio.Event()


@item_handler(concurrency=40)
async def meets(count):
    meeting = session().setdefault("meeting", Meeting())
    meeting.here += 1
    if meeting.here == count:
        meeting.all.set()
    await meeting.all.wait()
    return meeting.here
