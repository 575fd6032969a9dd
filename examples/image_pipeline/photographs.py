"""Photographs that scikit-image ships, raw frames that are cut out of them, and thumbnails.

A frame is what a camera or a decoder of videos delivers: its pixels as bytes, three each.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TypedDict

from PIL import Image, ImageFilter, ImageOps, ImageStat

NAMES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "motorcycle_left.png",
    "camera.png",
    "coins.png",
    "moon.png",
)
PIXELS = 1_800_000
"""Pixels that a photograph is enlarged to, or made smaller."""
SIDE = 96
"""Pixels of the longer side of a thumbnail."""
COLUMNS = 20
"""Thumbnails in a row of a contact sheet."""


class Picture(TypedDict):
    """An image of three bytes for each pixel, row by row."""

    width: int
    height: int
    pixels: bytes


class Box(TypedDict):
    """Where a frame is cut out of which photograph."""

    photograph: int
    left: int
    top: int
    width: int
    height: int


class Thumbnail(Picture):
    """A thumbnail, and how sharp the frame is."""

    sharpness: float


def photographs() -> list[Picture]:
    """Return the photographs, all of about the same number of pixels."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("no module named 'skimage'")
    folder = Path(package.origin).parent / "data"
    return [_photograph(folder / name) for name in NAMES]


def _photograph(path: Path) -> Picture:
    with Image.open(path) as image:
        scale = (PIXELS / (image.width * image.height)) ** 0.5
        size = round(image.width * scale), round(image.height * scale)
        return _picture(image.convert("RGB").resize(size))


def boxes(pictures: Sequence[Picture], count: int) -> list[Box]:
    """Return where so many frames of varied sizes are cut out; the same each time."""
    return [_box(pictures, number, Random(number)) for number in range(count)]


def _box(pictures: Sequence[Picture], number: int, random: Random) -> Box:
    photograph = number % len(pictures)
    picture = pictures[photograph]
    width = round(picture["width"] * random.uniform(0.3, 1))
    height = round(picture["height"] * random.uniform(0.3, 1))
    return {
        "photograph": photograph,
        "left": random.randint(0, picture["width"] - width),
        "top": random.randint(0, picture["height"] - height),
        "width": width,
        "height": height,
    }


def frames(pictures: Sequence[Picture], cuts: Sequence[Box]) -> Iterator[Picture]:
    """Yield the frames, each made when it is asked for."""
    for cut in cuts:
        yield _frame(pictures[cut["photograph"]], cut)


def _frame(picture: Picture, cut: Box) -> Picture:
    row = 3 * picture["width"]
    first = cut["top"] * row + 3 * cut["left"]
    length = 3 * cut["width"]
    starts = range(first, first + cut["height"] * row, row)
    source = memoryview(picture["pixels"])
    return {
        "width": cut["width"],
        "height": cut["height"],
        "pixels": b"".join([source[start : start + length] for start in starts]),
    }


def thumbnail(frame: Picture) -> Thumbnail:
    """Make a thumbnail of a frame, and rate its sharpness."""
    image = _image(frame)
    edges = image.convert("L").filter(ImageFilter.FIND_EDGES)
    scale = SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.resize(size, Image.Resampling.LANCZOS)
    small = ImageOps.autocontrast(small, cutoff=1).filter(ImageFilter.UnsharpMask(1, 60))
    return {**_picture(small), "sharpness": round(ImageStat.Stat(edges).stddev[0], 3)}


def expected(pictures: Sequence[Picture], cuts: Sequence[Box]) -> list[Thumbnail]:
    """Make all thumbnails in one process, one after the other."""
    return [thumbnail(frame) for frame in frames(pictures, cuts)]


def contact_sheet(thumbnails: Sequence[Thumbnail]) -> bytes:
    """Put thumbnails side by side on one picture, in order; the result is a PNG."""
    step = SIDE + 8
    columns = min(COLUMNS, len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    sheet = Image.new("RGB", (columns * step, rows * step), (24, 24, 24))
    for number, small in enumerate(thumbnails):
        left = number % columns * step + (step - small["width"]) // 2
        top = number // columns * step + (step - small["height"]) // 2
        sheet.paste(_image(small), (left, top))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _image(picture: Picture) -> Image.Image:
    return Image.frombytes("RGB", (picture["width"], picture["height"]), picture["pixels"])


def _picture(image: Image.Image) -> Picture:
    return {"width": image.width, "height": image.height, "pixels": image.tobytes()}
