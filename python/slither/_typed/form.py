"""What an annotation asks of a value: whether it fits, and what becomes of it.

Plain values, made by :mod:`slither._typed.build` and the modules that it asks, and kept by those
that convert with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slither._typed.mismatch import refused

Convert = Callable[[Any], Any]
"""Returns the value as the type's own, or raises :class:`slither._typed.mismatch.Mismatch`."""
Build = Callable[[object], "Form"]
"""Makes the form of an annotation: what forms of containers ask for those of their parts."""

OWN, LOST, EXACT, LOOSE, TEXT, ANY, POOR, NEVER = -1, 0, 1, 2, 3, 4, 5, 9
"""How well a value fits a type, the best first: what decides between those of a union.

It is an object of the type; what such an object is on the wire, which does not tell it from
other values; a value of the type; one that stands for it, as an int for a float; a text of it;
whatever it is; what would be of the type if a part of it were another; nothing of the kind.
"""


class Form:
    """One annotation, as something to convert with."""

    __slots__ = (
        *("changes", "convert", "exact", "fit", "has_literal", "keys", "name", "restores"),
        *("strange", "unread"),
    )

    def __init__(
        self,
        name: str,
        convert: Convert,
        fit: Callable[[Any], float],
        *,
        restores: bool = False,
        changes: bool | None = None,
    ) -> None:
        """Take all that it is.

        ``restores`` says that the annotation names a type that data lose on the wire: what has
        none is not looked at. ``changes`` says that :attr:`convert` may return another object.
        """
        self.name = name
        self.convert = convert
        self.fit = fit
        self.restores = restores
        self.changes = restores if changes is None else changes
        self.exact: tuple[type, ...] = ()
        """Types whose values it leaves as they are, so that nobody need ask it."""
        self.keys: frozenset[str] | None = None
        """The fields, where it is a record."""
        self.has_literal = False
        """Whether it is of a few values alone, or a record with a field that is."""
        self.unread: tuple[str, ...] = ()
        """What of it can't be honoured, in words."""
        self.strange: tuple[type, ...] = ()
        """The classes that it names and that nothing is known of."""

    @property
    def is_any(self) -> bool:
        """Whether it takes anything, as it is."""
        return self.convert is _same


def _same(value: Any) -> Any:
    return value


def anything(name: str = "object", *unread: str, strange: tuple[type, ...] = ()) -> Form:
    """Return the form of what is taken as it is; ``unread`` says why that is so."""
    form = Form(name, _same, lambda _value: ANY)
    form.unread, form.strange = unread, strange
    return form


def leaf(
    name: str, exact: tuple[type, ...], loose: tuple[type, ...] = (), *, restores: bool = False
) -> Form:
    """Return the form of values that cross as what they are: they are checked, and stay."""
    known = (*exact, *loose)

    def convert(value: Any) -> Any:
        if isinstance(value, known):
            return value
        return refused(name, value)

    def fit(value: Any) -> float:
        if type(value) in exact:
            return EXACT
        return LOOSE if isinstance(value, known) else NEVER

    form = Form(name, convert, fit, restores=restores, changes=False)
    form.exact = known
    return form


class Later(Form):
    """A form that is being built, for a type that has parts of its own type."""

    __slots__ = ("_whole",)

    def __init__(self, name: str, restores: bool) -> None:
        """Begin; :meth:`settle` gives what it is."""
        self._whole: Form | None = None
        super().__init__(name, self._convert, self._fit, restores=restores, changes=True)

    def _convert(self, value: Any) -> Any:
        assert self._whole is not None
        return self._whole.convert(value)

    def _fit(self, value: Any) -> float:
        assert self._whole is not None
        return self._whole.fit(value)

    def settle(self, form: Form) -> None:
        """Be that form from now on."""
        self._whole = form
