"""Starts a thread that Python does not know, by the name in THREAD_NAME, when it is imported."""

import ctypes
import os
from _thread import allocate_lock, start_new_thread

PR_SET_NAME = 15
named, forever = allocate_lock(), allocate_lock()


def wait() -> None:
    ctypes.CDLL(None).prctl(PR_SET_NAME, os.environ["THREAD_NAME"].encode(), 0, 0, 0)
    named.release()
    forever.acquire()


named.acquire()
forever.acquire()
start_new_thread(wait, ())
named.acquire()
