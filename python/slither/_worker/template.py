"""A template: a process that has imported what a pool's workers need, and forks them.

It becomes one in the main thread, which is then its only one: a thread would be missing from
what is forked, with the locks that it holds. A fork is a call of BEAM's. Its answer begins with
the worker's pid, and ends with how the worker has ended, which its parent alone is told. The
worker, too, is in the main thread, in the place where its template was: it goes on from there.
"""

from __future__ import annotations

import gc
import importlib
import os
import random
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from slither._io.port import Port
from slither._types import Payload
from slither._wire import build
from slither._wire.codec import encode
from slither._wire.faults import describe
from slither._worker import affinity, current, forked, oom, process
from slither._worker.connection import Link
from slither._worker.output import Capture, flush_streams
from slither._worker.stacks import Stacks

# What workers import at their first calls: once here, in place of once in each.
_WARM = (
    "socket",
    "slither._wire.late",
    "slither._worker.cursors",
    "slither._worker.execute",
    "slither._worker.yielded",
)
# Seconds that threads get which have been told to end.
_PATIENCE = 1.0
# Threads that a fork may leave behind: jemalloc, which pyarrow brings and pandas imports, holds
# its locks during a fork, and does without its thread in the child.
_HARMLESS = frozenset({"jemalloc_bg_thd"})
# ms between two looks at children that the system tells nothing of.
_LOOK = 20


class Template:
    """What is left to do once all is imported: settle, and serve."""

    def __init__(
        self, port: Port, link: Link, capture: Capture | None, stacks: Stacks, address: str
    ) -> None:
        """Take what the process has as a worker that is starting."""
        self._port = port
        self._link = link
        self._capture = capture
        self._stacks = stacks
        self._address = address
        self._pid = os.getpid()
        self._poller = select.poll()
        # By the descriptor that tells of its end: a child's pid, and the call that it is the
        # answer to. Without a descriptor it is looked at every now and then.
        self._children: dict[int, tuple[int, int]] = {}
        self._unseen: list[tuple[int, int]] = []

    def settle(self) -> str | None:
        """Make ready to fork; return why that can't be, None where it can."""
        for name in _WARM:
            importlib.import_module(name)
        own = {self._stacks.thread}
        if self._capture is not None:
            own.add(self._capture.thread)
            self._capture.end_thread()
        self._stacks.end()
        _await(lambda tasks: not own & tasks)
        oom.settle_template()
        gc.collect()
        # A collector that looked at what is here would write to all of it, and each worker would
        # get a copy of its own.
        gc.freeze()
        self._flush()
        # The system is to keep how children end, until this process has asked.
        self._on_child = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return _refused()

    def serve(self) -> Port | None:
        """Fork whenever BEAM asks; None at the end, and in a worker what it reaches BEAM by."""
        self._poller.register(self._port, select.POLLIN)
        for descriptor in self._capture.descriptors if self._capture is not None else ():
            self._poller.register(descriptor, select.POLLIN)
        while True:
            for call, _ in self._link.calls_there():
                if self._fork(call.id, call.items[0]):
                    return self._born(call.items[0])
            if self._link.is_over:
                return None
            ready = self._poller.poll(_LOOK if self._unseen else None)
            for descriptor, _ in ready:
                if descriptor in self._children:
                    self._poller.unregister(descriptor)
                    self._reap(*self._children.pop(descriptor))
                    os.close(descriptor)
            self._unseen = [child for child in self._unseen if not self._reap(*child, os.WNOHANG)]
            self._flush()

    def _fork(self, call: int, variables: dict[str, Payload]) -> bool:
        # True in the worker.
        self._flush()
        try:
            pid = forked.hatch()
        except OSError as error:
            message = f"the system starts no more processes: {error}"
            fault = describe("start_failed", message, errno=error.errno)
            self._link.send((build.error(call, fault),))
            return False
        if pid == 0:
            return True
        with suppress(OSError):
            os.setpgid(pid, pid)
        try:
            descriptor = os.pidfd_open(pid)
        except (AttributeError, OSError):
            self._unseen.append((pid, call))
        else:
            self._children[descriptor] = (pid, call)
            self._poller.register(descriptor, select.POLLIN)
        self._link.send((build.part_head(call, 0, 1), encode(pid), build.NIL))
        return False

    def _reap(self, pid: int, call: int, flags: int = 0) -> bool:
        status: int | None = None
        with suppress(ChildProcessError):
            found, status = os.waitpid(pid, flags)
            if found == 0:
                return False
            code = os.waitstatus_to_exitcode(status)
            # As the ports of BEAM's tell it.
            status = code if code >= 0 else 128 - code
        head, times = build.result_head(call, 1), build.timing(0, 0, 0)
        self._link.send((head, encode(status), build.NIL, times))
        return True

    def _flush(self) -> None:
        # What waits in a buffer would be there once more in each child.
        if self._capture is not None:
            self._capture.flush()
        else:
            flush_streams()

    def _born(self, variables: dict[str, Payload]) -> Port:
        current.link, current.is_template = None, False
        process.settle_forked(self._pid)
        signal.signal(signal.SIGCHLD, self._on_child)
        self._port.close()
        for descriptor in self._children:
            os.close(descriptor)
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        affinity.settle()
        oom.settle_forked()
        # The main thread has another number now, which not each Python takes note of.
        getattr(threading.main_thread(), "_set_native_id", lambda: None)()
        _seed()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                channel.connect("\0" + self._address)
                descriptor = process.aside(channel.fileno())
        except OSError as error:
            # Descriptor 2 is still the template's, which tells BEAM.
            os.write(2, f"a worker that was forked can't reach BEAM: {error}\n".encode())
            os._exit(1)
        if self._capture is not None:
            self._capture.leave()
        return Port(descriptors=(descriptor, descriptor))


def _seed() -> None:
    # Each process that is spawned draws numbers of its own.
    random.seed()
    if (numbers := sys.modules.get("numpy.random")) is not None:
        numbers.seed()


def _refused() -> str | None:
    # Libraries of numbers end their threads before a fork, and start others when they need them.
    pid = forked.hatch()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    if not _await(lambda _tasks: not _threads()):
        return f"threads are running: {', '.join(_threads())}"
    if (device := _device()) is not None:
        return f"{device} is in use, which can't be in two processes"
    return None


def _await(holds: Callable[[set[int]], bool]) -> bool:
    # The system lists a thread for a moment after it has ended.
    until = time.monotonic() + _PATIENCE
    while not holds(_tasks()):
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True


def _tasks() -> set[int]:
    return set(map(int, os.listdir("/proc/self/task")))


def _threads() -> list[str]:
    main = threading.main_thread()
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    names = [known[number] for number in known if number != main.native_id]
    for number in sorted(_tasks() - known.keys() - {os.getpid()}):
        # One that has ended meanwhile has no file.
        with suppress(OSError), open(f"/proc/self/task/{number}/comm") as file:
            if (name := file.read().strip()) not in _HARMLESS:
                names.append(f"{name} (not Python's)")
    return names


def _device() -> str | None:
    torch = sys.modules.get("torch")
    with suppress(AttributeError):
        if torch is not None and torch.cuda.is_initialized():
            return "CUDA"
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{number}")
            if path.startswith(("/dev/nvidia", "/dev/kfd")):
                return path
    return None
