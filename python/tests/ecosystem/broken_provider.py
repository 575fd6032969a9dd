"""A handler's module whose tracer provider has a processor that raises."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider


class _Broken(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError(f"no room for {span.name}")


_provider = TracerProvider()
_provider.add_span_processor(_Broken())
trace.set_tracer_provider(_provider)


def double(item: int) -> int:
    return 2 * item
