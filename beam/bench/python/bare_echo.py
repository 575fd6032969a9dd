"""The bare port with the codec: each frame is unpacked, packed and sent back, by hand."""

import os
import struct

import msgpack

HEAD = struct.Struct(">I")
pack = msgpack.Packer().pack
unpackb = msgpack.unpackb
buffer = b""

while True:
    while len(buffer) < 4 or len(buffer) < 4 + HEAD.unpack_from(buffer)[0]:
        chunk = os.read(3, 65536)
        if not chunk:
            os._exit(0)
        buffer += chunk
    (size,) = HEAD.unpack_from(buffer)
    body, buffer = buffer[4 : 4 + size], buffer[4 + size :]
    answer = pack(unpackb(body, strict_map_key=False))
    data = HEAD.pack(len(answer)) + answer
    while data:
        data = data[os.write(4, data) :]
