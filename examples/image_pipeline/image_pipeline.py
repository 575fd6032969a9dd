"""What the workers of image_pipeline run: the work itself is in ``photographs``."""

from __future__ import annotations

from typing import TypedDict

import photographs
from photographs import Box, Picture, Thumbnail


class Material(TypedDict):
    """What there is to work on, and the thumbnails that one process makes of it."""

    names: list[str]
    pictures: list[Picture]
    boxes: list[Box]
    expected: list[Thumbnail]


def load(counts: list[int]) -> list[Material]:
    """The photographs, where frames are cut out, and what is to come of it."""
    return [_load(count) for count in counts]


def _load(count: int) -> Material:
    pictures = photographs.photographs()
    boxes = photographs.boxes(pictures, count)
    return {
        "names": list(photographs.NAMES),
        "pictures": pictures,
        "boxes": boxes,
        "expected": photographs.expected(pictures, boxes),
    }


# coordination: slither
def thumbnail(frames: list[Picture]) -> list[Thumbnail]:
    """Make the thumbnails of frames."""
    return [photographs.thumbnail(frame) for frame in frames]


def contact_sheet(lists: list[list[Thumbnail]]) -> list[bytes]:
    """Put thumbnails on one picture."""
    return [photographs.contact_sheet(thumbnails) for thumbnails in lists]


# end of coordination
