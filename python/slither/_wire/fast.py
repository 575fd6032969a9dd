"""The decoder of msgspec, where it is installed: it takes half the time for dictionaries.

Called by the codec, in any thread; what it leaves is msgpack's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from slither._types import Payload

NOT_READ: Payload = object()


class Fast:
    """What is read by it, and when.

    It recurses, and how deep it may is another number in each version of Python, and for each
    stack and setting. So it gets a type that ends after a few levels. What is deeper, and all
    that the type has no place for (bytes, extensions, keys that are no str), is left to msgpack,
    which says what is wrong, too: what is taken does not depend on msgspec.
    """

    levels = 8
    # Bytes that msgpack decodes before msgspec is imported, which does not pay in a process
    # that decodes little.
    after = 262_144
    # Once msgspec has refused a value, msgpack decodes so many times its size: more values like
    # it may follow.
    pause = 8
    decode: Callable[[bytes | bytearray | memoryview], Payload] | None = None

    def read(self, data: bytes | bytearray | memoryview) -> Payload:
        """Decode ``data``, or return ``NOT_READ``."""
        if self.after > 0:
            self.after -= len(data)
            if self.after <= 0 and self.decode is None:
                self.load()
        elif self.decode is not None:
            try:
                return self.decode(data)
            except Exception:  # noqa: BLE001 - msgpack says what is wrong, if anything is
                self.after = len(data) * self.pause
        return NOT_READ

    def load(self) -> None:
        """Take it from now on, if it is there."""
        self.after = 0
        with contextlib.suppress(ImportError):
            from msgspec.msgpack import Decoder

            self.decode = Decoder(_nested(self.levels)).decode


def _nested(levels: int) -> Payload:
    """Return the type of plain values of so many levels of containers."""
    kind: Payload = None | bool | int | float | str
    for _ in range(levels):
        # msgspec caches the keys of a dict only where all are str.
        kind = None | bool | int | float | str | list[kind] | dict[str, kind]
    return kind
