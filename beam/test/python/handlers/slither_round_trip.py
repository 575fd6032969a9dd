"""Handlers for the law that a value which went both ways is the same value."""

from __future__ import annotations

import datetime
import math
import random
import struct

import numpy

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]
FIRST, LAST = -62_135_596_800, 253_402_300_799
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def identity(items):
    return items


def make(seeds):
    """One random value for each seed."""
    return [value(random.Random(seed), 4) for seed in seeds]


def compare(pairs):
    """None where the value is what the seed made, else what differs."""
    return [differs(value(random.Random(seed), 4), got, "value") for seed, got in pairs]


def value(rand, depth):
    kind = rand.randrange(4 if depth else 2)
    if kind == 2:
        return [value(rand, depth - 1) for _ in range(count(rand))]
    if kind == 3:
        return mapping(rand, depth)
    return leaf(rand)


def mapping(rand, depth):
    made, seen = {}, set()
    for _ in range(rand.randrange(33, 60) if rand.random() < 0.05 else count(rand)):
        made_key = key(rand, 2)
        # A second NaN is another key to Python and the same one to BEAM.
        if repr(made_key).find("nan") < 0 or "nan" not in seen:
            seen.add("nan" if "nan" in repr(made_key) else None)
            made[made_key] = value(rand, depth - 1)
    return made


def key(rand, depth):
    kind = rand.randrange(8)
    if kind == 0 and depth:
        return tuple(key(rand, depth - 1) for _ in range(rand.randrange(1, 4)))
    if kind == 1:
        return integer(rand)
    if kind == 2:
        return floating(rand)
    if kind == 3:
        return rand.choice([None, True, False])
    if kind == 4:
        return rand.randbytes(count(rand))
    if kind == 5:
        return moment(rand)
    return text(rand)


def leaf(rand):
    makers = [integer, floating, text, moment, array]
    makers.append(lambda r: r.randbytes(r.choice([0, 1, 5, 255, 256])))
    makers.append(lambda r: r.choice([None, True, False, [], {}]))
    return rand.choice(makers)(rand)


def count(rand):
    return rand.randrange(14, 18) if rand.random() < 0.06 else rand.randrange(5)


def integer(rand):
    edge = 1 << rand.choice([3, 5, 7, 8, 15, 16, 31, 32, 63, 64, 65, 127, 200, 1_000])
    near = rand.randrange(-1, 2)
    return rand.choice([edge + near, -edge + near, rand.randrange(-edge, edge)])


def floating(rand):
    special = [math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1.7976931348623157e308]
    any_bits = struct.unpack("<d", rand.randbytes(8))[0]
    return rand.choice([rand.choice(special), any_bits, float(rand.randrange(1_000))])


def text(rand):
    ranges = [(0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)]
    size = rand.choice([0, 1, 3, 8, 31, 32, 255, 256])
    return "".join(chr(rand.randrange(*rand.choice(ranges))) for _ in range(size))


def moment(rand):
    offset = rand.choice([0, 0, 3_600, -3_600, 19_800, 86_399, -86_399, 1, -12_345])
    lowest, highest = max(FIRST, FIRST - offset), min(LAST, LAST - offset)
    seconds = rand.choice([lowest, highest, 0, -1, rand.randrange(lowest, highest)])
    micros = rand.choice([0, 1, 999_999, rand.randrange(1_000_000)])
    zone = datetime.timezone(datetime.timedelta(seconds=offset))
    return (EPOCH + datetime.timedelta(seconds=seconds, microseconds=micros)).astimezone(zone)


def array(rand):
    shape = tuple(rand.randrange(5) for _ in range(rand.randrange(5)))
    dtype = numpy.dtype(rand.choice(DTYPES))
    size = math.prod(shape)
    data = rand.randbytes(size * dtype.itemsize)
    if dtype.kind == "b":
        data = bytes(byte & 1 for byte in data)
    made = numpy.frombuffer(data, dtype).reshape(shape)
    # Neither the order in memory nor the byte order is a part of the value.
    if rand.random() < 0.3:
        made = numpy.asfortranarray(made)
    return made.astype(dtype.newbyteorder(">")) if rand.random() < 0.3 else made


def differs(want, got, path):
    """Say where two values differ: in type, in bits, in offset, in dtype or in shape."""
    if isinstance(want, numpy.ndarray):
        same = isinstance(got, numpy.ndarray) and want.shape == got.shape
        same = same and want.dtype.name == got.dtype.name
        plain = want.astype(want.dtype.newbyteorder("<"), order="C")
        return None if same and plain.tobytes() == got.tobytes() else shown(want, got, path)
    if type(want) is not type(got):
        return shown(want, got, path)
    if isinstance(want, float):
        nan = math.isnan(want) and math.isnan(got)
        # BEAM of this release takes both zeros for one key, and may show either.
        same = nan or struct.pack("<d", want) == struct.pack("<d", got)
        return None if same else shown(want, got, path)
    if isinstance(want, list | tuple):
        if len(want) != len(got):
            return shown(want, got, path)
        parts = [
            differs(w, g, f"{path}[{i}]") for i, (w, g) in enumerate(zip(want, got, strict=True))
        ]
        return next(filter(None, parts), None)
    if isinstance(want, dict):
        left, right = dict(map(named, want.items())), dict(map(named, got.items()))
        if left.keys() != right.keys():
            return shown(want, got, path)
        parts = [differs(left[k], right[k], f"{path}[{k!r}]") for k in left]
        return next(filter(None, parts), None)
    if isinstance(want, datetime.datetime):
        same = want == got and want.utcoffset() == got.utcoffset()
        return None if same else shown(want, got, path)
    return None if want == got else shown(want, got, path)


def named(item):
    """A key that equals itself, types and NaN included."""
    return plain(item[0]), item[1]


def plain(key):
    if isinstance(key, tuple):
        return ("tuple", *map(plain, key))
    if isinstance(key, datetime.datetime):
        return ("datetime", key.isoformat(), str(key.utcoffset()))
    return (type(key).__name__, repr(key))


def shown(want, got, path):
    return f"{path}: {want!r} came back as {got!r}"
