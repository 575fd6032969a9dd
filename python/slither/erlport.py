"""A port in ErlPort's shape: length-prefixed messages on file descriptors 3 and 4."""

from __future__ import annotations

from slither._io.port import Port

__all__ = ["Port"]

Port.__module__ = __name__
