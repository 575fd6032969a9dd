"""Frames that a worker sends, built so that they can always be sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slither._errors import EncodeError
from slither._version import MAX_FRAME
from slither._wire import frames
from slither._wire.codec import encode, encode_head, encode_once, encode_view
from slither._wire.walk import MAX_DEPTH
from slither._worker.slots import name_of

if TYPE_CHECKING:
    from slither._types import Payload

Pieces = tuple[bytes | memoryview, ...]
MAX_TEXT = 65_536
# What a frame needs beside one value, at most.
HEAD = 128
_FIXINT = 128


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


def said(error: BaseException) -> str:
    """Return an exception's text, or its name where it has none."""
    name = name_of(type(error)).rpartition(".")[2]
    try:
        # Joined, it is a plain str, whatever a subclass of str says of itself.
        return "".join((str(error),)) or name
    except BaseException:  # noqa: BLE001 - __str__ is the user's code
        return f"{name} (its str() failed)"


def describe(kind: str, message: str, **facts: Payload) -> dict[str, Payload]:
    """Build an error map."""
    return {"kind": kind, "message": clean(message), **facts}


def frame(kind: int, *fields: Payload) -> bytes:
    """Encode a frame whose fields are known to be sendable."""
    return bytes(encode_view([kind, *fields], "frame", MAX_DEPTH + 8))


def encode_error(identity: int, error: dict[str, Payload], max_frame: int = MAX_FRAME) -> bytes:
    """Encode an error frame; facts that can't be sent, or have no room, are left out."""
    try:
        body = frame(frames.ERROR, identity, error)
        if len(body) > max_frame:
            body = frame(frames.ERROR, identity, lean(error))
        return body
    except EncodeError:
        plain = {key: error[key] for key in ("kind", "message")}
        return frame(frames.ERROR, identity, plain)


def lean(error: dict[str, Payload]) -> dict[str, Payload]:
    """Return what matters most of an error: its class, and the end of its traceback."""
    told: dict[str, Payload] = {key: error[key] for key in ("kind", "type") if key in error}
    told["message"] = clean(error["message"], 1_000)
    if "traceback" in error:
        told["traceback"] = "…" + error["traceback"][-1_000:]
    if "raised" in error:
        first = error["raised"][0]
        known = {key: first[key] for key in ("type", "module", "bases", "message")}
        told["raised"] = [{**known, "left_out": {"…": "str"}}]
    return told


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
    whole = _encode_whole(identity, results)
    if whole is not None:
        answer = _result((b"\x95", memoryview(whole)[1:]), b"\xc0", decode_us, handler_us, began)
    else:
        answer = _result(
            *_encode_each(identity, results, max_frame), decode_us, handler_us, began
        )
    size = sum(map(len, answer))
    if size > max_frame:
        # A value that is over the limit by itself fails alone, if that makes room enough.
        answer = _result(
            *_encode_each(identity, results, max_frame), decode_us, handler_us, began
        )
        if sum(map(len, answer)) > max_frame:
            return (encode_error(identity, too_large("the answer", size, max_frame)),)
    return answer


def _result(head: Pieces, errors: bytes, decode_us: int, handler_us: int, began: int) -> Pieces:
    encode_us = (time.perf_counter_ns() - began) // 1_000
    if decode_us < _FIXINT and handler_us < _FIXINT and encode_us < _FIXINT:
        # Each is its own byte, as most are.
        return (*head, errors + bytes((0x93, decode_us, handler_us, encode_us)))
    return (*head, errors + encode_head([decode_us, handler_us, encode_us]))


def too_large(what: str, size: int, limit: int) -> dict[str, Payload]:
    """Build the error of what is over the limit."""
    message = f"{what} has {size} bytes; the limit is {limit}"
    if what == "the answer":
        message += "; lower batch_size"
    return describe("too_large", message, size=size, limit=limit)


def _encode_whole(
    identity: int, results: list[Payload] | tuple[Payload, ...]
) -> bytes | memoryview | None:
    # The frame and the list are not part of any item's depth.
    fields = [frames.RESULT, identity, results]
    try:
        return encode_once(fields, MAX_DEPTH + 2, small=len(results) == 1)
    except Exception:  # noqa: BLE001 - a subclass, or a timezone, is the user's code
        return None


def _encode_each(
    identity: int, results: list[Payload] | tuple[Payload, ...], max_frame: int
) -> tuple[Pieces, bytes]:
    encoded: list[bytes] = []
    errors: dict[int, bytes] = {}
    for index, item in enumerate(results):
        value, error = encode_one(item, max_frame)
        encoded.append(value)
        if error is not None:
            errors[index] = error
    head = b"\x95\x05" + encode(identity) + array_head(len(encoded))
    return (head, *encoded), encode_errors(errors)


def encode_one(item: Payload, max_frame: int) -> tuple[bytes, bytes | None]:
    """Encode one result, and its error where it has one: then the result is nil."""
    if isinstance(item, Raised):
        error = item.error
    elif isinstance(item, Failure):
        error = _failure(item)
    else:
        try:
            value = encode(item, "result")
        except EncodeError as failure:
            error = describe("not_encodable", str(failure), path=clean(failure.path))
        except Exception as failure:  # noqa: BLE001 - a subclass, or a timezone, is the user's code
            why = f"result: {type(failure).__name__} while it was encoded: {said(failure)}"
            error = describe("not_encodable", why, path="result")
        else:
            if len(value) <= max_frame - HEAD:
                return value, None
            error = too_large("the result", len(value), max_frame)
    encoded = _encode_error(error)
    if len(encoded) > max_frame - HEAD:
        encoded = _encode_error(lean(error))
    if len(encoded) > max_frame - HEAD:
        encoded = _encode_error(too_large("the item's error", len(encoded), max_frame))
    return b"\xc0", encoded


def _encode_error(error: dict[str, Payload]) -> bytes:
    # What an error carries may nest as deep as a value, and stands in a map in an array.
    return bytes(encode_view(error, "error", MAX_DEPTH + 8))


def encode_errors(errors: dict[int, bytes]) -> bytes:
    """Join encoded errors to the field of a frame."""
    if not errors:
        return b"\xc0"
    parts = [_map_head(len(errors))]
    for index, error in errors.items():
        parts += (encode(index), error)
    return b"".join(parts)


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


def array_head(count: int) -> bytes:
    """Encode the head of an array."""
    if count < 16:
        return bytes([0x90 | count])
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def _map_head(count: int) -> bytes:
    if count < 16:
        return bytes([0x80 | count])
    if count < 1 << 16:
        return b"\xde" + count.to_bytes(2, "big")
    return b"\xdf" + count.to_bytes(4, "big")
