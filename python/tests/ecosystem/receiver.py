"""A receiver of OTLP over HTTP, which reads what comes with the protocol's own package."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(1, 6)


class Span:
    """A span that has come, in plain values."""

    def __init__(self, scope: str, service: str, got: Any) -> None:
        self.scope, self.service = scope, service
        self.name, self.kind = got.name, got.kind
        self.trace, self.id = got.trace_id.hex(), got.span_id.hex()
        self.parent = got.parent_span_id.hex()
        self.start, self.end = got.start_time_unix_nano, got.end_time_unix_nano
        self.attributes = _plain(got.attributes)
        self.events = [(event.name, _plain(event.attributes)) for event in got.events]
        self.links = [link.span_id.hex() for link in got.links]
        self.failed = got.status.code == 2
        self.why = got.status.message

    def __repr__(self) -> str:
        return f"<{self.scope} {self.name} {self.kind} {self.id} below {self.parent}>"


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Receiver:
    """The spans that have come, each once."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver._take(self.path, dict(self.headers), body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert path == "/v1/traces"
        got = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            self.headers.append({name.lower(): value for name, value in headers.items()})
            for of in got.resource_spans:
                service = _plain(of.resource.attributes)["service.name"]
                for scope in of.scope_spans:
                    self.spans += [Span(scope.scope.name, service, span) for span in scope.spans]
            self._changed.notify_all()

    def wait(self, enough: Callable[[list[Span]], object]) -> None:
        """Wait until what has come is enough."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.spans), timeout=60)

    def of_kind(self, kind: int) -> list[Span]:
        """Return the spans of a kind, in the order in which they began."""
        return sorted(
            (span for span in self.spans if span.kind == kind), key=lambda span: span.start
        )

    def one(self, kind: int) -> Span:
        """Return the only span of a kind."""
        (span,) = self.of_kind(kind)
        return span

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()
