"""Frames that a worker sends, built so that they can always be sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slither import _frames as frames
from slither._codec import encode, encode_head, encode_once, encode_view
from slither._errors import EncodeError
from slither._version import MAX_FRAME
from slither._walk import MAX_DEPTH

if TYPE_CHECKING:
    from slither._types import Payload

Pieces = tuple[bytes | memoryview, ...]
MAX_TEXT = 65_536


class Failure:
    """Stands in the place of one result, to fail that item and no other.

    Arguments: ``reason``, a str, or any value the protocol carries.

    >>> Failure("no such user").reason
    'no such user'
    """

    __slots__ = ("reason",)

    def __init__(self, reason: Payload) -> None:
        """Keep the reason."""
        self.reason = reason

    def __repr__(self) -> str:
        """Show the reason."""
        return f"Failure({self.reason!r})"


class Raised(Failure):
    """Stands in the place of one result whose handler raised."""

    __slots__ = ("error",)

    def __init__(self, error: dict[str, Payload]) -> None:
        """Keep the error map."""
        super().__init__(error["message"])
        self.error = error


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Make a text sendable: no lone surrogates, and no more than ``limit`` characters."""
    if len(text) > limit:
        text = f"{text[: limit - 40]}… ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def describe(kind: str, message: str, **facts: Payload) -> dict[str, Payload]:
    """Build an error map."""
    return {"kind": kind, "message": clean(message), **facts}


def frame(kind: int, *fields: Payload) -> bytes:
    """Encode a frame whose fields are known to be sendable."""
    return bytes(encode_view([kind, *fields], "frame", MAX_DEPTH + 8))


def encode_error(identity: int, error: dict[str, Payload]) -> bytes:
    """Encode an error frame; facts that can't be sent are left out."""
    try:
        return frame(frames.ERROR, identity, error)
    except EncodeError:
        plain = {key: error[key] for key in ("kind", "message")}
        return frame(frames.ERROR, identity, plain)


def encode_result(
    identity: int,
    results: list[Payload] | tuple[Payload, ...],
    decode_us: int = 0,
    handler_us: int = 0,
    max_frame: int = MAX_FRAME,
) -> Pieces:
    """Encode a result frame, in pieces; items that can't be sent become errors of their own.

    The timing is in microseconds. An answer over ``max_frame`` bytes becomes an error frame.
    """
    began = time.perf_counter_ns()
    fields = [frames.RESULT, identity, results]
    # The frame and the list are not part of any item's depth.
    head: Pieces
    whole = encode_once(fields, MAX_DEPTH + 2, small=len(results) == 1)
    if whole is not None:
        head, errors = (b"\x95", memoryview(whole)[1:]), None
    else:
        items, errors = _encode_each(results)
        head = (b"\x95\x05", encode(identity), _array_head(len(items)), *items)
    encode_us = (time.perf_counter_ns() - began) // 1_000
    tail = encode_head([errors, [decode_us, handler_us, encode_us]])
    pieces: Pieces = (*head, memoryview(tail)[1:])
    size = sum(map(len, pieces))
    if size <= max_frame:
        return pieces
    message = f"the answer has {size} bytes; the limit is {max_frame}"
    return (encode_error(identity, describe("too_large", message, size=size, limit=max_frame)),)


def _encode_each(
    results: list[Payload] | tuple[Payload, ...],
) -> tuple[list[bytes], dict[int, dict[str, Payload]]]:
    encoded: list[bytes] = []
    errors: dict[int, dict[str, Payload]] = {}
    for index, item in enumerate(results):
        if isinstance(item, Failure):
            errors[index] = item.error if isinstance(item, Raised) else _failure(item)
            encoded.append(b"\xc0")
            continue
        try:
            encoded.append(encode(item, "result"))
        except EncodeError as error:
            errors[index] = describe("not_encodable", str(error), path=clean(error.path))
            encoded.append(b"\xc0")
    return encoded, errors


def _failure(failure: Failure) -> dict[str, Payload]:
    if isinstance(failure.reason, str):
        return describe("failure", failure.reason)
    try:
        message = str(failure.reason)
    except Exception:  # noqa: BLE001 - __str__ is the user's code, and fails this item only
        message = f"a {type(failure.reason).__name__} (its str() failed)"
    try:
        encode(failure.reason, "reason")
    except EncodeError:
        return describe("failure", message)
    return describe("failure", message, reason=failure.reason)


def _array_head(count: int) -> bytes:
    if count < 16:
        return bytes([0x90 | count])
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")
