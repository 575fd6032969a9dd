"""Runs a command in a terminal of its own, and types letters once it has drawn twice.

Run by terminal_test.exs: the letters, then the command. Prints, a line each: the exit status,
whether the terminal is as it was, and what was drawn, with what is no letter escaped.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time

PATIENCE = 60.0


def main() -> None:
    """Run it."""
    letters, *command = sys.argv[1:]
    outside, inside = os.openpty()
    fcntl.ioctl(outside, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
    before = termios.tcgetattr(inside)
    process = subprocess.Popen(
        command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
    )
    drawn = b""
    typed = False
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        if select.select([outside], [], [], 0.1)[0]:
            drawn += os.read(outside, 65536)
        if drawn.count(b"\x1b[H") >= 2 and not typed:
            os.write(outside, letters.encode())
            typed = True
    while select.select([outside], [], [], 0)[0]:
        drawn += os.read(outside, 65536)
    sys.stdout.write(f"{process.poll()}\n{termios.tcgetattr(inside) == before}\n")
    sys.stdout.write(drawn.decode(errors="replace").encode("unicode_escape").decode() + "\n")
    process.kill()


if __name__ == "__main__":
    main()
