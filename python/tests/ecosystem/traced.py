"""Handlers that make spans of their own, wherever code of a handler may run."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opentelemetry import trace
from work import wait_for

from slither.worker import batch_handler, context

TRACER = trace.get_tracer("tests", "1.0")


def work(name: str) -> None:
    with TRACER.start_as_current_span(name) as span:
        span.set_attribute("done", True)


def plain(item: int) -> int:
    work("plain")
    return item


def batch(items: list[int]) -> list[int]:
    work("batch")
    return items


def fails(item: int) -> int:
    raise LookupError(f"no {item}")


@batch_handler
def some_fail(items: list[int]) -> list[int]:
    raise KeyError(items[0])


def seen() -> list[Any]:
    """Say which trace is the current one, and what was imported for it."""
    now = trace.get_current_span().get_span_context()
    loaded = [
        name for name in ("tracing", "spans", "sdk") if f"slither._worker.{name}" in sys.modules
    ]
    return [f"{now.trace_id:032x}", now.trace_flags & 1, context().trace, loaded]


def hangs(path: str) -> None:
    with TRACER.start_as_current_span("never ends"):
        open(path, "w").close()
        time.sleep(3_600)


def threads(_item: int) -> None:
    thread = threading.Thread(target=work, args=("thread",))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work, "executor").result()


_POOL = ThreadPoolExecutor(1)


def kept_executor(_item: int) -> None:
    _POOL.submit(work, "kept executor").result()


async def coroutines(_item: int) -> None:
    async def task(name: str) -> None:
        await asyncio.sleep(0)
        work(name)

    await asyncio.gather(task("task"), asyncio.create_task(task("created")))
    await asyncio.to_thread(work, "to_thread")


async def batch_of_coroutines(items: list[int]) -> list[int]:
    await asyncio.gather(*(asyncio.to_thread(work, "batch") for _ in items))
    return items


def yields(items: list[int]) -> Iterator[int]:
    for item in items:
        work("yielded")
        yield item


async def yields_async(items: list[int]) -> AsyncIterator[int]:
    for item in items:
        await asyncio.sleep(0)
        work("yielded")
        yield item


def values(count: int) -> Iterator[int]:
    with TRACER.start_as_current_span("all values"):
        for value in range(count):
            work("value")
            yield value


async def values_async(count: int) -> AsyncIterator[int]:
    for value in range(count):
        await asyncio.sleep(0)
        work("value")
        yield value


def many_spans(count: int) -> None:
    for _ in range(count):
        work("one of many")


def many_then_wait(count: int, path: str) -> None:
    many_spans(count)
    wait_for(path)


def ends(_item: int) -> None:
    os._exit(3)
