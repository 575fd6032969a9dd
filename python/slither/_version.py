"""The version of the package and of the wire protocol."""

__version__ = "0.1.0"
PROTOCOL_VERSION = 2
MAX_FRAME = 268_435_456
