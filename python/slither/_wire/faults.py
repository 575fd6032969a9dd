"""Error maps: what a frame says of something that went wrong, in a form that can always be sent.

Pure functions, called by whoever builds a frame: a worker, a program, and what tests put in their
place.
"""

from __future__ import annotations

from slither._types import Payload

MAX_TEXT = 65_536
"""Characters of a text that is sent."""


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Make a text sendable: no lone surrogates, and no more than ``limit`` characters."""
    if len(text) > limit:
        text = f"{text[: limit - 40]}… ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def describe(kind: str, message: str, **facts: Payload) -> dict[str, Payload]:
    """Build an error map."""
    return {"kind": kind, "message": clean(message), **facts}


def too_large(what: str, size: int, limit: int) -> dict[str, Payload]:
    """Build the error of what is over the limit."""
    message = f"{what} has {size} bytes; the limit is {limit}"
    if what == "the answer":
        message += "; lower batch_size"
    return describe("too_large", message, size=size, limit=limit)


def lean(error: dict[str, Payload]) -> dict[str, Payload]:
    """Return what matters most of an error: its class, and the end of its traceback."""
    told: dict[str, Payload] = {
        key: error[key] for key in ("kind", "type", "retry_after") if key in error
    }
    told["message"] = clean(error["message"], 1_000)
    if "traceback" in error:
        told["traceback"] = "…" + error["traceback"][-1_000:]
    if "raised" in error:
        first = error["raised"][0]
        known = {key: first[key] for key in ("type", "module", "bases", "message")}
        told["raised"] = [{**known, "left_out": {"…": "str"}}]
    return told
