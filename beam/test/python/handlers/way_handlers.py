"""Handlers that tell what their process is like, however that was started."""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import gc
import logging
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid

from slither.worker import on_start, on_stop

started: list[int] = []


@on_start
def note_start() -> None:
    started.append(os.getpid())


def _note(what):
    folder = os.environ.get("NOTES")
    if folder:
        with open(os.path.join(folder, f"{what}-{os.getpid()}"), "a") as file:
            file.write("x")


@on_stop
def note_stop() -> None:
    _note("stop")


atexit.register(_note, "exit")


def about(items):
    """What a process is."""
    return [
        {
            "pid": os.getpid(),
            "group": os.getpgid(0),
            "started": list(started),
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "main": threading.current_thread() is threading.main_thread(),
            "native": threading.main_thread().native_id,
            "stdin": os.read(0, 1),
            "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))),
            "collects": gc.isenabled(),
            "faults": faulthandler.is_enabled(),
            "sigint": repr(signal.getsignal(signal.SIGINT)),
            "sigchld": repr(signal.getsignal(signal.SIGCHLD)),
            "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
            "argv": list(sys.argv),
            "cwd": os.getcwd(),
            "priority": os.getpriority(os.PRIO_PROCESS, 0),
            "dies_with": _parent_death_signal(),
            "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
            "environment": {k: v for k, v in os.environ.items() if k != "SLITHER_WORKER"},
            "seen_by_c": _c_environment(b"SLITHER_WORKER"),
        }
        for _ in items
    ]


def _parent_death_signal():
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(found), 0, 0, 0)
    return found.value


def _c_environment(name):
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    return (getenv(name) or b"").decode()


def drawn(items):
    """Numbers that no other process is to draw."""
    found = [random.random(), str(uuid.uuid4()), next(tempfile._get_candidate_names())]
    if "numpy" in sys.modules:
        found.append(float(sys.modules["numpy"].random.random()))
    return [found for _ in items]


def runs_others(items):
    """Processes that a handler starts, and how they end, as it sees it."""
    return [
        {
            "subprocess": _output("echo hi; exit 3"),
            "status": subprocess.run(["sh", "-c", "exit 3"], check=False).returncode,
            "system": os.waitstatus_to_exitcode(os.system("exit 4")),
            "fork": _forked(),
            "multiprocessing": [_pool(way) for way in ("fork", "spawn")],
        }
        for _ in items
    ]


def _output(command):
    found = subprocess.run(["sh", "-c", command], check=False, capture_output=True)
    return found.stdout.decode().strip()


def _forked():
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _pool(way):
    with multiprocessing.get_context(way).Pool(1) as pool:
        return pool.map(abs, [-1, -2])


def forks_and_returns(items):
    """A child that goes on in the handler ends where that returns."""
    if os.fork() == 0:
        return items
    os.wait()
    return [os.getpid() for _ in items]


def ends(items):
    """Ends its process, in one of many ways."""
    for how in items:
        ENDS[how]()
    return items


def _crash():
    ctypes.string_at(0)


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def _exit_in_thread():
    thread = threading.Thread(target=os._exit, args=(9,))
    thread.start()
    thread.join()


ENDS = {
    "status": lambda: os._exit(3),
    "thread": _exit_in_thread,
    "abort": os.abort,
    "crash": _crash,
    "kill": _kill,
    "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
}


def says(items):
    """Prints and logs, in each of the ways that there are."""
    for item in items:
        print(f"printed {item}")
        print(f"told {item}", file=sys.stderr)
        logging.getLogger("way").warning("logged %s", item)
        os.write(1, f"written {item}\n".encode())
        subprocess.run(["echo", f"echoed {item}"], check=True)
    return items


def connects(items):
    """A server and its client, in threads: locks and descriptors are whole."""
    server = socket.create_server(("127.0.0.1", 0))
    got = []

    def serve():
        connection, _ = server.accept()
        got.append(connection.recv(10))
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with socket.create_connection(server.getsockname()) as client:
        client.send(b"hello")
    thread.join()
    server.close()
    return [got[0].decode() for _ in items]
