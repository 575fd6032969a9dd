"""Says where its marker file is, and never ends its import."""

import signal

with open("/proc/self/maps") as maps:
    paths = {line.split()[-1] for line in maps if "/slither-" in line}
print("marker", *paths, flush=True)
signal.pause()
