"""A worker whose part a test plays: it hands frames on between BEAM and the test's socket."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys

try:
    test = socket.socket(socket.AF_UNIX)
    test.connect(sys.argv[1])
    test.sendall(struct.pack(">II", 4, os.getpid()))
    while True:
        for source in select.select([3, test.fileno()], [], [])[0]:
            data = os.read(source, 65_536)
            if not data:
                sys.exit(7)
            to = 4 if source != 3 else test.fileno()
            while data:
                data = data[os.write(to, data) :]
except OSError:
    sys.exit(7)
