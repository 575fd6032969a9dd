"""BEAM's side of a worker, for tests: a process with pipes on its descriptors 3 and 4."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

from slither._types import Payload
from slither._version import PROTOCOL_VERSION
from slither._wire import frames
from slither._wire.build import frame
from slither._worker.marker import place

PATIENCE = 60_000
TESTS = str(Path(__file__).parent)
CONTEXT = {"run": "r1", "pipe": "p", "stage": "s", "session": None}


class Worker:
    def __init__(self, output: int | IO[bytes] = subprocess.PIPE, **settings: Payload) -> None:
        child_in, self._out = os.pipe()
        self._in, child_out = os.pipe()

        def place() -> None:
            low, high = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (child_in, child_out))
            os.dup2(low, 3)
            os.dup2(high, 4)
            os.close(low)
            os.close(high)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "slither.worker"],
            preexec_fn=place,  # noqa: PLW1509 - no test starts a worker from a thread
            close_fds=False,
            stdout=output,
            stderr=output,
        )
        os.close(child_in)
        os.close(child_out)
        self.settings = {"paths": [TESTS], "preload": ["handlers"], "marker": True, **settings}
        self._ids = 0
        self.marker = -1
        self.stacks: list[int] = []

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_input()
        try:
            self.process.communicate(timeout=PATIENCE / 1_000)
        finally:
            self.process.kill()
            os.close(self._in)
            if self.marker >= 0:
                os.close(self.marker)
            for file in self.stacks:
                os.close(file)

    def close_input(self) -> None:
        if self._out >= 0:
            os.close(self._out)
            self._out = -1

    def send_body(self, body: bytes) -> None:
        data = memoryview(struct.pack(">I", len(body)) + body)
        while data:
            data = data[os.write(self._out, data) :]

    def send(self, kind: int, *fields: Payload) -> None:
        self.send_body(frame(kind, *fields))

    def read(self) -> frames.Frame:
        body = self._exactly(struct.unpack(">I", self._exactly(4))[0])
        return frames.parse(body)

    def expect(self, kind: type[frames.Frame]) -> Payload:
        got = self.read()
        assert isinstance(got, kind), got
        return got

    def start(self, version: int = PROTOCOL_VERSION) -> Worker:
        self.hello = self.expect(frames.Hello)
        self.marker = self.open(self.hello.facts["marker"])
        self.stacks = [self.open(place, os.O_RDWR) for place in self.hello.facts["stacks"] or ()]
        self.send(frames.WELCOME, version, self.settings)
        return self

    def open(self, where: Payload, how: int = os.O_RDONLY) -> int:
        """Open a file of the worker's, as BEAM does."""
        file = os.open(f"/proc/{self.process.pid}/fd/{where[0]}", how | os.O_NONBLOCK)
        assert place(file)[1:] == where[1:]
        return file

    def marked(self) -> bytes:
        """Read what BEAM would of a worker that is dead."""
        return os.pread(self.marker, 1 << 20, 0)

    def ready(self) -> Worker:
        self.start()
        self.facts = self.expect(frames.Ready).facts
        return self

    def call(
        self,
        name: str | list[str],
        items: list[Payload],
        batch: int = 0,
        attempt: int = 1,
        **context: Payload,
    ) -> int:
        self._ids += 1
        target = ["command", name] if isinstance(name, str) else name
        where = {**CONTEXT, **context}
        self.send(frames.CALL, self._ids, target, where, batch, attempt, items)
        return self._ids

    def run(self, name: str | list[str], items: list[Payload], **context: Payload) -> Payload:
        identity = self.call(name, items, **context)
        got = self.read()
        assert getattr(got, "id", None) == identity, got
        return got

    def results(self, name: str | list[str], items: list[Payload], **context: Payload) -> Payload:
        got = self.run(name, items, **context)
        assert isinstance(got, frames.Result), got
        return got.results

    def error(self, name: str | list[str], items: list[Payload]) -> dict[str, Payload]:
        got = self.run(name, items)
        assert isinstance(got, frames.Error), got
        return got.error

    def wait(self) -> int:
        return self.process.wait(PATIENCE / 1_000)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            poller = select.poll()
            poller.register(self._in, select.POLLIN)
            assert poller.poll(PATIENCE), "the worker says nothing"
            chunk = os.read(self._in, size - len(data))
            if not chunk:
                raise EOFError("the worker is gone")
            data += chunk
        return data
