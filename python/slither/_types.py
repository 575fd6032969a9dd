"""The one type that stands for whatever the protocol carries; all that names values names it."""

from typing import Any, TypeAlias

Payload: TypeAlias = Any
"""Any value the protocol carries: see the table of values in ``protocol/PROTOCOL.md``."""
