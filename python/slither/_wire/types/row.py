"""What the table of types says of one type, and why a value can't be sent.

Pure; the modules beside it make rows of their types, and :mod:`slither._wire.types.table` has
them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from slither._words import article

Encoded = object
"""What a packer takes by itself: an extension, a plain number or text, a list or a dict whose
parts are still values."""


class RefusedError(Exception):
    """A value that the protocol does not carry; the text is the reason."""


class Opaque(Protocol):
    """What carries values that the protocol has no type for, as bytes that BEAM never opens."""

    def begin(self) -> None:
        """Note that the values of a frame are to be encoded."""

    def wrap(self, value: object) -> bytes:
        """Return the bytes, or raise :class:`RefusedError` with the reason."""

    def unwrap(self, data: bytes) -> object:
        """Return the value again, or raise :class:`DecodeError` with the reason."""


class Row(NamedTuple):
    """One type, or some that are sent alike."""

    name: str
    """What expressions call it, in BEAM too."""
    encode: Callable[[Any], Encoded]
    types: tuple[type, ...] = ()
    """Its types, as far as they are always loaded."""
    later: str = ""
    """Its other types, with their modules: they are looked for once those are loaded."""
    code: int = 0
    """The code of its extension."""
    decode: Callable[[bytes | bytearray], Any] | None = None
    mark: int | None = None
    """The byte of the mark that its arrays begin with."""
    build: Callable[[list[Any]], Any] | None = None
    """Makes a value of such an array, whose mark is gone."""
    lossy: bool = False
    """Whether another type comes back."""
    holds: bool = False
    """Whether what is sent of it has parts that are any values; but for lists and their kin."""
    closed: bool = False
    """Whether subclasses are other types."""
    doubt: Callable[[Any], bool] | None = None
    """Tells whether two such values may be two keys here and one key on BEAM, or none at all."""
    key: Callable[[Any], Any] | None = None
    """Makes what two keys share when they are one; by default what is sent of them is."""
    plain: Callable[[Any], Any] | None = None
    """Makes what JSON has a type for; by default it is the text."""
    ordered: bool = False
    """Whether two values of the type have an order in expressions."""


def always(_value: object) -> bool:
    """Doubt any value."""
    return True


def is_nan(value: Any) -> bool:
    """Tell whether a value is not equal to itself."""
    return bool(value != value)  # noqa: PLR0124 - only a NaN differs from itself


def named(value: object) -> str:
    """Name a value's type, with its article."""
    return article(type(value).__name__)
