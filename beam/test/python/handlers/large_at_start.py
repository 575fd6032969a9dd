"""Takes memory as it is imported."""

import threading

held = b"\1" * 300_000_000
threading.Event().wait()
