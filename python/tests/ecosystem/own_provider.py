"""A handler's module that has a tracer provider of its own, set as it is imported."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

_ended: list[ReadableSpan] = []


class _Kept(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        _ended.extend(spans)
        return SpanExportResult.SUCCESS


_provider = TracerProvider()
_provider.add_span_processor(SimpleSpanProcessor(_Kept()))
trace.set_tracer_provider(_provider)


def work(_item: int) -> None:
    with trace.get_tracer("own").start_as_current_span("inner"):
        pass


def ended() -> list[tuple[str, int, str | None, str]]:
    """Return the name, kind, parent and id of each span that has ended here."""
    return [
        (
            span.name,
            span.kind.value,
            None if span.parent is None else f"{span.parent.span_id:016x}",
            f"{span.context.span_id:016x}" if span.context else "",
        )
        for span in _ended
    ]
