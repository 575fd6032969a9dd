"""Handlers that call views, and say how it went."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from slither import (
    SessionEnded,
    SlitherError,
    UnknownView,
    ViewBusy,
    ViewError,
    ViewFailed,
    ViewTimeout,
    views,
)
from slither._wire import frames
from slither._wire.build import frame
from slither._worker import current
from slither.worker import cancelled, progress


def look_up(keys):
    return [views.bridge_test_feature(key=key) for key in keys]


def call(requests):
    return [views.call(r["view"], r["params"], timeout=r.get("timeout")) for r in requests]


def call_many(requests):
    return [views.map(r["view"], r["params"]) for r in requests]


def outcome(requests):
    """The class of the exception, whether it names the view, and what it says."""
    answers = []
    for request in requests:
        try:
            value = views.call(request["view"], request["params"], timeout=request.get("timeout"))
            answers.append({"value": value})
        except (UnknownView, ViewFailed, ViewTimeout, ViewBusy, SessionEnded) as error:
            assert isinstance(error, ViewError)
            assert isinstance(error, SlitherError)
            answers.append(
                {"error": type(error).__name__, "view": error.view, "message": str(error)}
            )
    return answers


def call_when_told(requests):
    """Leaves a thread behind that calls a view once the pipe `go` is written to."""

    def late(request):
        with open(request["go"], "rb") as go:
            go.read()
        try:
            answer = str(views.call(request["view"], {}))
        except ViewError as error:
            answer = f"{type(error).__name__}: {error}"
        with open(request["answer"], "w") as told:
            told.write(answer)

    for request in requests:
        threading.Thread(target=late, args=(request,), daemon=True).start()
    return requests


def map_outcome(requests):
    """As `outcome`, of views.map."""
    answers = []
    for request in requests:
        try:
            answers.append({"value": views.map(request["view"], request["params"])})
        except ViewError as error:
            answers.append({"error": type(error).__name__, "message": str(error)})
    return answers


def at_once(requests):
    """Asks from `count` threads at one time, and when told to, once more for each of `more`."""

    def ask(number):
        return outcome([{"view": "hard_test_gate", "params": number}])[0]

    answers = []
    for request in requests:
        count = request["count"]
        with ThreadPoolExecutor(count) as pool:
            waiting = [pool.submit(ask, number) for number in range(count)]
            with open(request["go"], "rb") as go:
                go.read()
            more = [ask(number) for number in range(request["more"])]
            progress(0)
            answers.append([[asked.result() for asked in waiting], more])
    return answers


_left = {}


def leave_thread(requests):
    """Leaves a thread that waits, to ask in another call."""

    def late(request):
        _left["go"].wait()
        _left["answer"] = outcome([request])[0]

    for request in requests:
        _left["go"] = threading.Event()
        _left["thread"] = threading.Thread(target=late, args=(request,), daemon=True)
        _left["thread"].start()
    return requests


def let_thread_go(requests):
    """Lets the thread ask, and asks itself."""
    _left["go"].set()
    _left["thread"].join()
    return [{"left": _left["answer"], "own": outcome([request])[0]} for request in requests]


def ask_when_cancelled(requests):
    """Asks once nobody waits for the call any more, and leaves the answer in a file."""
    progress(0)
    while not cancelled():
        pass
    for request in requests:
        answer = outcome([request])[0]
        with open(request["path"], "w") as file:
            file.write(answer.get("error", "answered"))
    return requests


def ask_and_freeze(requests):
    """Asks for much, reads nothing of it, and can't be interrupted."""
    for identity, request in enumerate(requests, 1_000):
        for number in range(request["times"]):
            arguments = ["get", [request["key"]]]
            table_call = frame(
                frames.TABLE_CALL, identity + number, 0, request["table"], *arguments
            )
            current.link._port.write(table_call)
    progress(0)
    os.kill(os.getpid(), signal.SIGSTOP)
    return requests
