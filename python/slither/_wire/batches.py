"""Items to the bytes of a feed frame, and values back from those of an outputs frame.

Pure functions, called by a program's runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from slither._errors import DecodeError, EncodeError
from slither._types import Payload
from slither._version import MAX_DEPTH, MAX_FRAME
from slither._wire import blobs
from slither._wire.build import Pieces, array_head, feed_head
from slither._wire.codec import PLAIN, Codec
from slither._wire.reading import is_mark

Body = list[bytes | memoryview]
Refused = dict[int, EncodeError]

# Most bytes that the items of one frame may have. The rest is for the heads of this frame and
# of the call that BEAM makes of it.
LIMIT = MAX_FRAME - 65_536
# Empty lists around the values, so that a list of values may nest no deeper than values do,
# though a frame may.
_FRAME_DEPTH = 1_024
_SPARE = _FRAME_DEPTH - (MAX_DEPTH + 1)
_UNPACK_HEAD = b"\x91" * _SPARE + b"\xdd"


class Part(NamedTuple):
    """What goes in one frame, of so many items: the others were refused."""

    taken: int
    body: Body
    count: int  # type: ignore[assignment]
    refused: Refused
    size: int


def parts(items: Sequence[Payload], first: int = 0, codec: Codec = PLAIN) -> Iterator[Part]:
    """Encode items as :func:`pack` does, in as many parts as fit a frame each."""
    body, count, refused = pack(items, first, codec)
    size = sum(map(len, body))
    if size <= LIMIT:
        yield Part(len(items), body, count, refused, size)
    elif len(items) == 1:
        yield Part(1, [], 0, {0: EncodeError(f"items[{first}]", too_large(size))}, 0)
    else:
        half = len(items) // 2
        yield from parts(items[:half], first, codec)
        yield from parts(items[half:], first + half, codec)


def too_large(size: int) -> str:
    """Say why so many bytes can't be sent."""
    return f"{size} bytes cannot be sent at once; {LIMIT} can"


def pack(
    items: Sequence[Payload], first: int = 0, codec: Codec = PLAIN
) -> tuple[Body, int, Refused]:
    """Encode items one after the other: the bytes, how many, and why others could not be.

    ``first`` is the position of the first item in the input, for errors to name.
    """
    if codec.opaque is not None:
        codec.opaque.begin()
    try:
        # One level more than an item may have, for the list around the items.
        body = codec.encode_view(list(blobs.lift(items)), "item", MAX_DEPTH + 1)
    except EncodeError:
        return _each(items, first, codec)
    return [body[len(array_head(len(items))) :]], len(items), {}


def feed(identity: int, first: int, body: Body, count: int) -> Pieces:
    """Build a feed frame, whose items have numbers from ``first`` on."""
    return feed_head(identity, first, count, sum(map(len, body))), *body


def unpack(values: bytes, count: int, codec: Codec = PLAIN) -> list[Payload]:
    """Decode the values of an outputs frame."""
    if is_mark(values):
        raise DecodeError("a mark is no value by itself")
    decoded: list[Payload] = codec.decode_frame(
        b"".join((_UNPACK_HEAD, count.to_bytes(4, "big"), values))
    )
    for _ in range(_SPARE):
        decoded = decoded[0]
    return decoded


def _each(items: Sequence[Payload], first: int, codec: Codec) -> tuple[Body, int, Refused]:
    body: Body = []
    refused: Refused = {}
    for index, item in enumerate(items):
        try:
            body.append(codec.encode(item, f"items[{first + index}]"))
        except EncodeError as error:
            refused[index] = error
    return body, len(body), refused
