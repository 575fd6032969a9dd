"""Handlers that call views, and say how it went."""

import threading

from slither import (
    SessionEnded,
    SlitherError,
    UnknownView,
    ViewError,
    ViewFailed,
    ViewTimeout,
    views,
)


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
        except (UnknownView, ViewFailed, ViewTimeout, SessionEnded) as error:
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
