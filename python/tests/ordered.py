"""Handlers that say things in an order that tests know."""

from __future__ import annotations

import logging

from slither import store, views
from slither._types import Payload
from slither._worker import current
from slither.worker import progress, session


def all_of_it(items: list[Payload]) -> list[Payload]:
    session()["seen"] = len(items)
    logging.getLogger("ordered").warning("first")
    progress(1, len(items))
    views.call("v")
    assert current.link is not None
    current.link.tell_table(current.current_call(), "t", "scan_end", (1,))
    store.table("t")._ask("size")
    logging.getLogger("ordered").warning("second")
    return items


def logs_then_reports(items: list[Payload]) -> list[Payload]:
    for item in items:
        logging.getLogger("ordered").warning("%s", item)
        progress(item, len(items))
    return items
