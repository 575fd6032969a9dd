"""A browser that looks at the dashboard's page, and a server that shows it made-up snapshots."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, ViewportSize

PAGE = Path(__file__).parents[3] / "beam/lib/slither/dashboard/page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

DESK: ViewportSize = {"width": 1280, "height": 720}
PHONE: ViewportSize = {"width": 390, "height": 844}


class Served:
    """The page's files, the snapshot and the stack that it is to show; what was asked for."""

    def __init__(self) -> None:
        self.snapshot: dict[str, Any] = {}
        self.stack: dict[str, Any] | None = None
        self.asked: list[str] = []
        self.stacks: list[dict[str, list[str]]] = []
        self.status = 200
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                served.asked.append(url.path)
                status, kind, body = served.answer(url.path, parse_qs(url.query))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.send_header("content-security-policy", POLICY)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        if path == "/favicon.ico":
            return 204, "text/plain", b""
        if path == "/snapshot":
            return self.status, "application/json", json.dumps(self.snapshot).encode()
        if path == "/stack":
            self.stacks.append(query)
            if self.stack is None:
                return 404, "text/plain", b"pool gpu has no worker 4 now\n"
            return 200, "application/json", json.dumps(self.stack).encode()
        file = PAGE / (path.strip("/") or "index.html")
        return 200, TYPES[file.suffix], file.read_bytes()

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Viewer:
    """Looks at a page, and remembers what a browser says that goes wrong."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.wrong: list[str] = []
        self.hosts: set[str] = set()
        self._context = browser.new_context(**{"viewport": DESK, **options})
        self.page: Page = self._context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def _asked(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).netloc)

    def look(self) -> Page:
        self.page.goto(self.url)
        self.page.wait_for_selector("#verdict[data-state]")
        return self.page

    def again(self) -> None:
        """Has the page ask at once, as when somebody comes back to it."""
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def close(self) -> None:
        self._context.close()
