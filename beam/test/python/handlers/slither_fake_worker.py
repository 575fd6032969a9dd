"""A worker that speaks the protocol, and then breaks it in the way it is told."""

from __future__ import annotations

import os
import random
import signal
import struct
import sys

import msgpack

mode = sys.argv[1]
VERSION = 99 if "version" in mode else 2


def send(body):
    if not isinstance(body, bytes):
        body = msgpack.packb(body)
    os.write(4, struct.pack(">I", len(body)) + body)


def read():
    size = struct.unpack(">I", exactly(4))[0]
    return msgpack.unpackb(exactly(size), strict_map_key=False)


def exactly(size):
    data = b""
    while len(data) < size:
        chunk = os.read(3, size - len(data))
        if not chunk:
            sys.exit(0)
        data += chunk
    return data


if mode == "silent":
    signal.pause()
if mode == "noise at start":
    send(b"\xc1" + random.randbytes(100))
    signal.pause()
if mode == "ends at start":
    sys.exit(7)

marker = os.memfd_create("slither-fake")
os.truncate(marker, 8)
file = os.fstat(marker)
device = file.st_dev + (mode == "other memory")
hello = {"pid": os.getpid(), "marker": [marker, device, file.st_ino]}
if mode == "asked":
    # It answers where it is by a count, and says nothing of it.
    stacks = os.memfd_create("slither-fake")
    os.truncate(stacks, 8216)
    asks, _ = os.pipe()
    told = map(os.fstat, (stacks, asks))
    hello["stacks"] = [
        [fd, f.st_dev, f.st_ino] for fd, f in zip((stacks, asks), told, strict=True)
    ]
    os.pwrite(stacks, struct.pack("<QQQ", 0, 0, os.getpid()), 0)
    asked = 0
send([0, VERSION, hello])
if mode == "version, ends":
    sys.exit(1)
welcome = read()
if VERSION == 99:
    send([3, {"kind": "version_mismatch", "message": f"{welcome[1]} and {VERSION}"}])
    sys.exit(1)
if mode == "result before ready":
    send([5, 1, [], None, [0, 0, 0]])
    signal.pause()
if mode == "odd failure":
    send([3, {"kind": "exception", "message": "m", "type": {"a": 1}, "traceback": [1]}])
    sys.exit(1)
send([2, {"handlers": [], "words": [2, 0, 0]}])
held = []
while True:
    frame = read()
    if frame[0] != 4:
        continue
    call, items = frame[1], frame[6]
    if mode == "no call, no marker":
        send([5, 0, [], None, [0, 0, 0]])
        continue
    os.pwrite(marker, struct.pack("<Q", call), 0)
    fine = [5, call, items, None, [0, 0, 0]]
    if mode == "asked":
        # A call is answered once BEAM asks where it is, or never.
        asked += len(os.read(asks, 1))
        if items != ["never"]:
            send(fine)
        os.pwrite(stacks, struct.pack("<QQQ", asked, 0, os.getpid()), 0)
        continue
    answers = {
        "other memory": [5, call, [welcome[2]["marker"]], None, [0, 0, 0]],
        "noise": b"\xc1" + random.randbytes(100),
        "unknown kind": [77, call],
        "empty frame": b"",
        "no array": {"result": call},
        "welcome": [1, VERSION, {}],
        "hello again": [0, VERSION, {}],
        "ready again": [2, {}],
        "fields": [5, call],
        "results": [5, call, None, None, [0, 0, 0]],
        "timing": [5, call, items, None, []],
        "count": [5, call, [*items, 1], None, [0, 0, 0]],
        "cut": msgpack.packb(fine)[:-1],
        "error": [6, call, {"kind": "exception"}],
        "state of no call": [19, call + 1, "run"],
        "no call": [6, 0, {"kind": "protocol", "message": "m"}],
        "empty part": [11, call, 0, [], None],
        "part of all": [11, call, 0, items, None],
        "part of another": [11, call + 1, 0, [1], None],
        "part fields": [11, call, 0],
        "odd item errors": [5, call, items, {0: {"kind": [], "message": {}}}, [0, 0, 0]],
        "odd error": [
            6,
            call,
            {"kind": "exception", "message": "m", "type": {"a": 1}, "traceback": [1]},
        ],
    }
    if mode.startswith("announces 4 GiB"):
        os.write(4, b"\xff\xff\xff\xff and less")
        if mode.endswith("dies"):
            os._exit(1)
    elif mode == "asks and does not read":
        for asked in range(100_000):
            send([7, asked, call, "v", 0, "x" * 1_000, None])
    elif mode == "tells of state again and again":
        for _ in range(100_000):
            send([19, call, "run"])
    elif mode == "second first":
        held.append((call, items))
        while len(held) > 1:
            second, items = held.pop()
            send([11, second, 0, items[:1], None])
            send([5, second, items[1:], None, [0, 0, 0]])
            first, items = held.pop()
            send([5, first, items, None, [0, 0, 0]])
    elif mode == "part twice":
        send([11, call, 0, [items[0]], None])
        send([11, call, 0, [items[0]], None])
    elif mode == "too long":
        send([5, call, ["x" * 2_000_000], None, [0, 0, 0]])
    elif mode == "answers twice":
        send(fine)
        send(fine)
    elif mode == "answers ahead":
        send([5, call + 1, ["forged"], None, [0, 0, 0]])
        send(fine)
    else:
        send(answers[mode])
