"""A tracer provider of OpenTelemetry's SDK, whose spans BEAM is told of.

It stands where the program has set none; :mod:`slither._worker.tracing` imports it then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import StatusCode

from slither._worker import spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


class _Ids(IdGenerator):
    """Ids that are not the same again where the program seeds its random numbers."""

    def generate_span_id(self) -> int:
        return int.from_bytes(spans.fresh(8), "big") or 1

    def generate_trace_id(self) -> int:
        return int.from_bytes(spans.fresh(16), "big") or 1


class _Processor(SpanProcessor):
    """Hands on each span as it ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended."""
        own: Any = span.context
        if own is None or not own.trace_flags.sampled:
            return
        above = None if span.parent is None else span.parent.span_id.to_bytes(8, "big")
        status = span.status
        scope = span.instrumentation_scope
        spans.add(
            (*_ids(own), above),
            span.name,
            span.kind.value + 1,
            (span.start_time or 0, span.end_time or 0),
            attributes=span.attributes,
            events=((event.name, event.timestamp, event.attributes) for event in span.events),
            links=(_ids(link.context) for link in span.links),
            error=(status.description or "error")
            if status.status_code is StatusCode.ERROR
            else None,
            scope="slither" if scope is None else scope.name,
        )


def _ids(context: Any) -> tuple[bytes, bytes]:
    return context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")


def provider() -> TracerProvider:
    """Return one that records what is below a span that is recorded, and nothing else."""
    made = TracerProvider(
        sampler=ParentBased(ALWAYS_OFF), id_generator=_Ids(), shutdown_on_exit=False
    )
    made.add_span_processor(_Processor())
    return made
