"""What the tests of blobs have workers run."""

from __future__ import annotations

import mmap
import os
import signal
from typing import Any

import numpy as np

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
