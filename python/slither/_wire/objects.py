"""Objects by value, within values that go as data: sealed on the way, opened where they are used.

A program with ``by_value`` and the workers that it started have an :class:`Objects` for their
codec. To decode opens nothing, as whoever reads frames must run no code of the user's: it leaves
a :class:`Sealed` in the place of each object. From these :mod:`slither._wire.late` makes them, in
the thread that wants them, one value at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slither import _by_value
from slither._errors import DecodeError
from slither._types import Payload
from slither._wire import late
from slither._wire.late import Late
from slither._wire.types import table
from slither._wire.types.row import RefusedError, named
from slither._words import said

if TYPE_CHECKING:
    from slither._pickles import Pickles
    from slither._seal import Seal


# Bytes of an exception that go beside what is told of it.
_LONGEST_ERROR = 1 << 18


class Sealed(Late):
    """An object that nobody has opened yet."""

    __slots__ = ("_objects", "data")

    def __init__(self, data: bytes, objects: Objects) -> None:
        self.data, self._objects = data, objects

    def _made(self, _parts: list[Payload]) -> Payload:
        return self._objects.unsealed(_by_value.VALUE, self.data, "an object")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self.data == other.data

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return f"<an object by value, {len(self.data)} bytes>"


class DataFirst:
    """The same for values that BEAM may look into: what can go as data does, of whatever type."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.begin, self.unwrap = objects.begin, objects.unwrap

    def wrap(self, value: object) -> bytes:
        """Return a value as signed bytes, or refuse it, also where it can go as data."""
        if table.find(type(value)).lossy:
            raise RefusedError("it goes as data")
        return self._objects.wrap(value)


class Objects:
    """What one process seals and opens: see :class:`slither._wire.codec.Opaque`."""

    def __init__(self, seal: Seal, pickles: Pickles, never: tuple[type, ...] = ()) -> None:
        """Take what the other side has, too; ``never`` are types that are no objects to send."""
        self.seal, self.pickles, self._never = seal, pickles, never
        late.use()
        self.renew: Callable[[], None] | None = None
        """Forgets what was known of classes."""

    def begin(self) -> None:
        """Note that the values of a frame are next: what they are of may have changed."""
        if self.renew is not None:
            self.renew()

    def wrap(self, value: object) -> bytes:
        """Return a value as signed bytes, or raise :class:`RefusedError` with the reason."""
        if isinstance(value, self._never):
            raise RefusedError(f"a {type(value).__name__} cannot be sent within a value")
        try:
            return self.sealed(_by_value.VALUE, value)
        # What pickles itself runs its own code, and may even exit.
        except (Exception, SystemExit) as error:
            why = f"{named(value)} cannot be sent by value: {said(error)}"
            raise RefusedError(why) from error

    def unwrap(self, data: bytes) -> Sealed:
        """Return what stands for the value until it is opened."""
        late.meet()
        return Sealed(bytes(data), self)

    def unsealed(self, what: str, data: bytes, name: str) -> Payload:
        """Open what was sealed by :meth:`sealed` as the same ``what``; ``name`` is for errors."""
        from slither._seal import Broken

        try:
            opened = self.seal.opened(what, data)
        except Broken as broken:
            raise DecodeError(f"{name} went by value, and {broken}") from None
        return self.pickles.loads(opened)

    def error(self, error: BaseException) -> bytes | None:
        """Return an exception sealed; None where what is told of it must do."""
        if type(error).__module__ == "builtins":
            return None
        try:
            data = self.sealed(_by_value.ERROR, _by_value.apart(error))
        except BaseException:  # noqa: BLE001 - the user's code
            return None
        return data if len(data) <= _LONGEST_ERROR else None

    def error_of(self, data: bytes) -> Payload:
        """Return what :meth:`error` has sealed; raises what it raises as it is made."""
        found = self.unsealed(_by_value.ERROR, data, "an exception")
        return _by_value.together(found)

    def sealed(self, what: str, value: object) -> bytes:
        """Return a value as signed bytes; raises what the value raises, or a pickler."""
        return self.seal.closed(what, self.pickles.dumps(value))
