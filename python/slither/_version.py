"""The version of the package and of the wire protocol, and the protocol's limits."""

__version__ = "0.1.0"
PROTOCOL_VERSION = 2
MAX_FRAME = 268_435_456
"""Bytes of a frame."""
MAX_DEPTH = 1_000
"""Containers that may stand within one another in a value."""
