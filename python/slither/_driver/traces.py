"""The trace that a program asks in: the current span of ``opentelemetry``, where that is in use.

Run in the thread, or the task, that asks for a call or a run.
"""

from __future__ import annotations

import sys
from typing import Any


def current() -> str | None:
    """Return the ``traceparent`` of the current span; None where there is none.

    A program that has not imported the package has no span.
    """
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
