"""Handlers whose sessions can move from worker to worker."""

import os

from slither.worker import on_session_stop, session, session_dump, session_load


def remember(values):
    seen = session().setdefault("seen", [])
    seen += values
    return [[os.getpid(), list(seen)] for _ in values]


@session_dump
def dump(state):
    if "stays" in state["seen"]:
        raise ValueError("this one stays")
    if "dies" in state["seen"]:
        os._exit(3)
    return state["seen"]


@session_load
def load(seen):
    if "refused" in seen:
        raise ValueError("not here")
    return {"seen": [*seen, "moved"]}


@on_session_stop
def say(state):
    print(f"left {os.getpid()}")
