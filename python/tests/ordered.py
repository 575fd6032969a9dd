"""Handlers that say things in an order that tests know."""

from __future__ import annotations

import logging
import threading

from slither import store, views
from slither._types import Payload
from slither._worker import current
from slither.worker import cancelled, progress, session


def all_of_it(items: list[Payload]) -> list[Payload]:
    session()["seen"] = len(items)
    logging.getLogger("ordered").warning("first")
    progress(1, len(items))
    views.call("v")
    assert current.link is not None
    current.link.tell_table(current.call_id(), "t", "scan_end", (1,))
    store.table("t")._ask("size")
    logging.getLogger("ordered").warning("second")
    return items


def logs_then_reports(items: list[Payload]) -> list[Payload]:
    for item in items:
        logging.getLogger("ordered").warning("%s", item)
        progress(item, len(items))
    return items


_go = threading.Event()
_left: list[threading.Thread] = []


def leaves_a_thread(items: list[Payload]) -> list[Payload]:
    """Leave a thread that acts when the next call lets it."""

    def act() -> None:
        _go.wait()
        progress(1, 2)
        store.table("t")["key"] = cancelled()

    _left.append(threading.Thread(target=act))
    _left[0].start()
    return items


def lets_the_thread_act(items: list[Payload]) -> list[Payload]:
    _go.set()
    _left[0].join()
    return [cancelled() for _ in items]
