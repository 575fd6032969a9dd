"""A worker from hello to exit: the main loop, in the main thread.

``python -m slither.worker`` calls :func:`main`. Handlers' threads, the watcher's and the one that
reads what is printed are the others of the process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence

import msgpack

from slither._errors import ProtocolError
from slither._io.port import Port
from slither._types import Payload
from slither._version import PROTOCOL_VERSION, __version__
from slither._wire import blobs, build, frames
from slither._wire.build import frame
from slither._wire.codec import Codec
from slither._wire.faults import clean, describe
from slither._worker import (
    current,
    execute,
    forked,
    registry,
    sessions,
    sharing,
    signals,
    targets,
    timed,
)
from slither._worker.connection import Incoming, Link
from slither._worker.errors_out import exception_error
from slither._worker.marker import Marker, place
from slither._worker.output import Capture, install_hooks, install_logging
from slither._worker.process import settle, take_port
from slither._worker.reports import LEAST
from slither._worker.settings import Settings, WrongSetting, settings_of
from slither._worker.stacks import Stacks

# Seconds that threads of the user's get to end after the stop hooks, before the process exits.
_LAST_SECONDS = 1.0


class _StartFailed(Exception):
    def __init__(self, error: dict[str, Payload]) -> None:
        super().__init__(error["message"])
        self.error = error


class Runtime:
    """One worker."""

    def __init__(self, port: Port, is_forked: bool = False) -> None:
        """Of a process that was started, or one that a template has forked."""
        self._port = port
        self._forked = is_forked
        self._link = Link(port)
        self._capture: Capture | None = None
        self._marker = Marker()
        self._stacks = Stacks()
        # What of the project was imported since that was last told, where somebody watches it.
        self._imported: Callable[[], Iterable[list[Payload]]] = tuple

    def run(self) -> int | Port:
        """Shake hands, serve calls until the end, and return the exit status.

        In a worker that this process has forked, return what that reaches BEAM by.
        """
        forked.follow()
        forked.on_child(self._leave_to_parent)
        try:
            self._link.send(
                (frame(frames.HELLO, PROTOCOL_VERSION, _facts(self._marker, self._stacks)),)
            )
            welcome = self._link.await_welcome()
            if welcome is None:
                return 1
            address = self._start(welcome)
            if address is not None:
                return self._be_template(address)
        except _StartFailed as failure:
            return self._fail(failure.error)
        except OSError as error:
            return self._fail(exception_error(error))
        handlers = sorted(registry.commands)
        facts = {"handlers": handlers, **_place()}
        if self._capture is not None:
            facts["words"] = place(self._capture.pipe)
        self._tell_sources()
        self._link.send((frame(frames.READY, facts),))
        # A write fails once BEAM is gone. The worker
        # then stops as it does at the end of its input.
        with contextlib.suppress(OSError):
            while (incoming := self._link.next_call()) is not None:
                self._execute(incoming)
        self._stop()
        return 0

    def _start(self, welcome: frames.Welcome) -> str | None:
        settings = _asked(welcome)
        link = self._link
        self._port.max_frame = settings.max_frame
        link.reports.add_credit(settings.credits)
        link.ahead = max(1, settings.ahead)
        self._marker.settle(settings.marker)
        self._stacks.settle(settings.stacks)
        current.link = link
        current.worker = settings.worker or 0
        current.takes_spans = settings.spans
        link.reports.level = LEAST[settings.log_level]
        install_logging(link.reports)
        if settings.capture:
            self._capture = Capture(link.reports, self._marker.words, streams=not self._forked)
        if not self._forked:
            self._settle(settings)
        if settings.watch is not None:
            self._follow_sources()
        try:
            with signals.Running():
                if not self._forked:
                    targets.load_template(settings.preload)
                if settings.watch:
                    # Imported late, as most pools watch no files.
                    from slither._worker import sources

                    sources.import_changed(settings.watch)
                if settings.template is None:
                    targets.load_own(settings.initializer)
            forked.end()
        except targets.TargetError as error:
            raise _StartFailed(error.error) from None
        except BaseException as error:  # noqa: BLE001 - the boundary to the user's code
            forked.end(error)
            raise _StartFailed(exception_error(error)) from None
        return settings.template

    def _settle(self, settings: Settings) -> None:
        # What forked workers have from their template, as what it has imported left it.
        current.main = settings.main
        current.is_template = settings.template is not None
        if settings.blobs is not None:
            blobs.know(settings.blobs)
            sharing.folder = settings.blobs
        if settings.secret is not None:
            from slither._wire.objects import DataFirst
            from slither._worker import by_value

            current.objects = by_value.objects(settings.secret)
            current.codec = Codec(current.objects)
            current.piped = Codec(DataFirst(current.objects))
        if settings.argv:
            sys.argv[:] = map(os.fsdecode, settings.argv)
        install_hooks()
        if settings.paths:
            sys.path[:] = _first(settings.paths, sys.path)

    def _follow_sources(self) -> None:
        from slither._worker import sources

        sources.follow()
        if self._forked:
            sources.tell_all()
        self._imported = sources.news

    def _be_template(self, address: str) -> Port:
        from slither._worker.template import Template

        template = Template(self._port, self._link, self._capture, self._stacks, address)
        self._link.send((frame(frames.READY, {**_place(), "refused": template.settle()}),))
        try:
            port = template.serve()
        except OSError:
            # BEAM is gone; so are the workers.
            port = None
        if port is None:
            # What was registered to run at the exit is the workers' to run.
            os._exit(0)
        return port

    def _fail(self, error: dict[str, Payload]) -> int:
        self._flush()
        self._link.reports.tell_dropped(without_credit=True)
        try:
            self._tell_sources()
            self._link.send((frame(frames.FAILED, error),))
        except OSError:
            # BEAM is gone and can't be told; the exit status says the same.
            return 1
        _exit_soon(1)
        return 1

    def _execute(self, incoming: Incoming) -> None:
        call, decode_us = incoming
        if self._link.is_dropped(call.id):
            self._link.forget(call.id)
            error = describe("cancelled", "the caller went away before the call began")
            self._link.send((build.error(call.id, error),))
            return
        self._marker.set(call.id)
        if self._capture is not None:
            self._capture.begin()
        current.running = call
        if call.context.get("trace") is not None:
            # Imported late, as most workers make no spans.
            from slither._worker import tracing

            current.serving = tracing.serving(call)
        try:
            answer = execute.answer(call, decode_us, self._port.max_frame, self._link)
            forked.end()
            self._flush()
            if current.serving is not None:
                current.serving.end(answer)
        finally:
            sessions.leave()
            current.running = current.serving = None
        self._link.forget(call.id)
        try:
            self._link.send(answer, call.id)
        except ProtocolError as error:
            fault = describe("too_large", str(error))
            self._link.send((build.error(call.id, fault),), call.id)
        # The marker is cleared only after the answer is sent, so that a worker that dies as it
        # sends still counts as having run this call.
        self._marker.set(0)
        self._tell_sources()
        signals.tell_late()

    def _tell_sources(self) -> None:
        for modules in self._imported():
            # Of a path that is longer than a frame may be, BEAM does not hear.
            with contextlib.suppress(ProtocolError):
                self._link.send((frame(frames.MODULES, modules),))

    def _flush(self) -> None:
        if self._capture is not None:
            self._capture.flush()

    def _stop(self) -> None:
        sessions.end_all()
        for hook in reversed(list(registry.stop_hooks.values())):
            try:
                with signals.Running():
                    hook()
                forked.end()
            except BaseException as error:
                forked.end(error)
                logging.getLogger("slither").exception("a stop hook failed")
        self._flush()
        if (spans := sys.modules.get("slither._worker.spans")) is not None:
            spans.flush()
        self._link.reports.tell_dropped(without_credit=True)
        with contextlib.suppress(OSError, ProtocolError):
            self._link.send_counted()
        _exit_soon(0)

    def _leave_to_parent(self) -> None:
        self._port.close()
        timed.slot = None
        self._link.reader.ended = True
        current.link = None


def _asked(welcome: frames.Welcome) -> Settings:
    """Return the settings of a welcome that can be met; the system's limits hold from here on."""
    if welcome.version != PROTOCOL_VERSION:
        message = (
            f"BEAM speaks protocol version {welcome.version}, "
            f"slither {__version__} for Python speaks {PROTOCOL_VERSION}"
        )
        facts = {"beam": welcome.version, "python": PROTOCOL_VERSION}
        raise _StartFailed(describe("version_mismatch", message, **facts))
    try:
        settings = settings_of(welcome.settings)
    except WrongSetting as error:
        raise _StartFailed(describe("protocol", str(error))) from None
    if settings.rlimits:
        # Imported late, as most pools set none.
        from slither._worker import rlimits

        try:
            rlimits.settle(settings.rlimits)
        except rlimits.Refused as error:
            raise _StartFailed(describe("protocol", f"rlimits: {error}")) from None
    return settings


def _first(paths: Sequence[str], own: list[str]) -> list[str]:
    # What is named stands in that order, the standard library too: it is not to stay ahead of the
    # packages of one that named it behind them.
    named = {os.path.realpath(path) for path in paths}
    return [*paths, *(entry for entry in own if os.path.realpath(entry) not in named)]


def _exit_soon(status: int) -> None:
    # At its end Python would wait for all threads that are not daemons, however long they take.
    timer = threading.Timer(_LAST_SECONDS, os._exit, (status,))
    timer.daemon = True
    timer.start()


def _facts(marker: Marker, stacks: Stacks) -> dict[str, Payload]:
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "slither": __version__,
        "msgpack": ".".join(map(str, msgpack.version)),
        "pid": os.getpid(),
        "executable": sys.executable or "",
        "marker": marker.place,
        "stacks": stacks.places,
    }


def _place() -> dict[str, Payload]:
    # With these a replay, in another process, finds the code of the handlers.
    try:
        folder = os.getcwd()
    except OSError:
        folder = ""
    return {"path": [clean(str(entry)) for entry in sys.path], "folder": clean(folder)}


def main() -> int:
    """Run a worker on descriptors 3 and 4 and return its exit status."""
    try:
        os.fstat(3)
        os.fstat(4)
    except OSError:
        sys.stderr.write(
            "slither.worker is started by a Slither pool, with a port on descriptors 3 and 4\n"
        )
        return 2
    settle()
    current.follow_threads()
    signals.install()
    end = Runtime(Port(descriptors=take_port())).run()
    while isinstance(end, Port):
        end = Runtime(end, is_forked=True).run()
    return end
