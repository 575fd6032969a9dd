"""The frame that answers a call, built so that it can always be sent.

Pure functions, in the main thread of a worker: :mod:`slither._worker.execute` answers with them,
and a handler's yielded results are encoded one by one as here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from slither._errors import EncodeError
from slither._types import Payload
from slither._version import MAX_DEPTH, MAX_FRAME
from slither._wire import blobs, build
from slither._wire.build import Pieces
from slither._wire.codec import encode, encode_view
from slither._wire.faults import clean, describe, lean, too_large
from slither._worker import current
from slither._worker.failure import Failure, Raised
from slither._worker.raised import said
from slither._worker.refused import milliseconds
from slither._worker.sharing import RESULTS

HEAD = 128
"""Bytes that a frame needs beside one value, at most."""


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
    before = blobs.use(RESULTS)
    try:
        return _encoded(identity, blobs.lift(results), decode_us, handler_us, max_frame)
    finally:
        blobs.use(before)


def _encoded(
    identity: int,
    results: Sequence[Payload],
    decode_us: int,
    handler_us: int,
    max_frame: int,
) -> Pieces:
    began = time.perf_counter_ns()
    try:
        whole = build.result_of(identity, results, current.codec_of_results())
    except Exception:  # noqa: BLE001 - a subclass, or a timezone, is the user's code
        whole = None
    size = 0
    if whole is not None:
        answer = _ended(whole, build.NIL, decode_us, handler_us, began)
        size = sum(map(len, answer))
        if size <= max_frame:
            return answer
    # Encode the results one by one: one over the limit
    # fails alone, which makes room for the rest.
    pieces, errors = _encode_each(identity, results, max_frame)
    answer = _ended(pieces, errors, decode_us, handler_us, began)
    least = sum(map(len, answer))
    if least <= max_frame:
        return answer
    return (build.error(identity, too_large("the answer", size or least, max_frame)),)


def _ended(head: Pieces, errors: bytes, decode_us: int, handler_us: int, began: int) -> Pieces:
    encode_us = (time.perf_counter_ns() - began) // 1_000
    return (*head, errors + build.timing(decode_us, handler_us, encode_us))


def _encode_each(
    identity: int, results: Sequence[Payload], max_frame: int
) -> tuple[Pieces, bytes]:
    encoded: list[bytes] = []
    errors: dict[int, bytes] = {}
    for index, item in enumerate(results):
        value, error = encode_one(item, max_frame)
        encoded.append(value)
        if error is not None:
            errors[index] = error
    return (build.result_head(identity, len(encoded)), *encoded), build.errors(errors)


def encode_one(item: Payload, max_frame: int) -> tuple[bytes, bytes | None]:
    """Encode one result, and its error where it has one: then the result is nil."""
    if isinstance(item, Raised):
        error = item.error
    elif isinstance(item, Failure):
        error = _failure(item)
    else:
        try:
            value = current.codec_of_results().encode(item, "result")
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
    return build.NIL, encoded


def _encode_error(error: dict[str, Payload]) -> bytes:
    # Some levels more, as an error may hold a value of full depth inside a map in an array.
    return bytes(encode_view(error, "error", MAX_DEPTH + 8))


def _failure(failure: Failure) -> dict[str, Payload]:
    error = _refusal(failure)
    if failure.retry_after is not None:
        error["retry_after"] = milliseconds(failure.retry_after)
    return error


def _refusal(failure: Failure) -> dict[str, Payload]:
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
