"""Never ends its import."""

import signal

signal.pause()
