"""What the tests of blobs have workers run."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import time
from typing import Any

import numpy as np

from slither import store
from slither._types import Payload
from slither.worker import context, item_handler


def _array(value: Payload) -> Any:
    while not isinstance(value, np.ndarray):
        value = value["in"] if isinstance(value, dict) else value[0]
    return value


def _is_mapped(array: Any) -> bool:
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)


@item_handler
def look(item: Payload) -> tuple[float, bool, bool]:
    """Add up an array that is somewhere in the item; tell whether it can be written."""
    array = _array(item)
    return float(array.sum()), bool(array.flags.writeable), _is_mapped(array)


@item_handler
def kind(item: Payload) -> tuple[str, str]:
    """Tell the type of bytes, and the text in them."""
    return type(item).__name__, bytes(item).decode()


def total(array: np.ndarray[Any, Any], more: float = 0.0) -> float:
    """Add up an array, which is known to be one by its annotation."""
    assert isinstance(array, np.ndarray)
    return float(array.sum()) + more


def doubled(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Double an array in place, and give it back."""
    array *= 2
    return array


def same(value: Payload) -> Payload:
    """Give it back."""
    return value


def is_mapped(value: Payload) -> bool:
    """Tell whether an array stands on shared memory."""
    return _is_mapped(value)


def killed_once(array: np.ndarray[Any, Any]) -> float:
    """Die at the first attempt, and then add up the array."""
    if context().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(array.sum())


def numbers(count: int) -> np.ndarray[Any, Any]:
    """Make an array."""
    return np.arange(float(count))


def without_room(count: int) -> np.ndarray[Any, Any]:
    """Make an array where no file may be as large."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    return np.arange(float(count))


def kept(array: np.ndarray[Any, Any]) -> int:
    """Put an array into a table, from which it can be read when the call is over."""
    store.table("kept")["array"] = array
    return len(array)


def waits(path: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Give the array back once there is a file."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return array
