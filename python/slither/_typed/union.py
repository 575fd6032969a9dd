"""Forms of unions: which of several types a value is of.

Pure; :mod:`slither._typed.build` asks, and a worker's main thread, or a program's, converts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slither._typed.form import NEVER, OWN, Form
from slither._typed.mismatch import Mismatch, refused

_NONE = type(None)


def form_of(members: tuple[Form, ...]) -> Form:
    """Return the form of one of some types.

    The one that a value fits best is tried first: what is of the type already; what may have been
    an object of it before it was sent; what stands for it; a text of it. Where two fit alike, the
    one that stands first is.
    """
    name = " | ".join(dict.fromkeys(one.name for one in members))
    restores = any(one.restores for one in members)
    changes = any(one.changes for one in members)
    others = tuple(one for one in members if one.name != "None")
    has_none = len(others) < len(members)
    if has_none and len(others) == 1:
        return _optional(others[0], name)

    def convert(value: Any) -> Any:
        if value is None and has_none:
            return None
        fits = sorted(
            (found, place)
            for place, one in enumerate(others)
            if (found := one.fit(value)) < NEVER
        )
        failed: list[Mismatch] = []
        for _fit, place in fits:
            try:
                return others[place].convert(value)
            except Mismatch as mismatch:
                mismatch.name = others[place].name
                failed.append(mismatch)
        if not failed:
            return refused(name, value)
        if len(failed) == 1:
            raise failed[0]
        told = "; ".join(f"{one.name}{one.path}: {one.reason}" for one in failed)
        raise Mismatch(f"it is none of {name}: {told}")

    def fit(value: Any) -> float:
        return min(one.fit(value) for one in members)

    form = Form(name, convert, fit, restores=restores, changes=changes)
    form.unread = tuple(_alike(others))
    if not changes and all(one.exact for one in members):
        form.exact = tuple(kind for one in members for kind in one.exact)
    return form


def _alike(members: tuple[Form, ...]) -> Iterator[str]:
    """Tell of records that a dict can't be told to be of."""
    known: dict[frozenset[str], str] = {}
    for one in members:
        if one.keys is None or one.has_literal:
            continue
        if (first := known.setdefault(one.keys, one.name)) != one.name:
            yield (
                f"{first} and {one.name} have the same fields, so {first} is always taken: give "
                "each a field with a Literal of its own"
            )


def _optional(form: Form, name: str) -> Form:
    inner = form.convert

    def convert(value: Any) -> Any:
        if value is None:
            return None
        try:
            return inner(value)
        except Mismatch as mismatch:
            if not mismatch.steps and mismatch.reason.startswith(f"{form.name} expected"):
                mismatch.reason = f"{name}{mismatch.reason.removeprefix(form.name)}"
            raise

    def fit(value: Any) -> float:
        return OWN if value is None else form.fit(value)

    made = Form(name, convert, fit, restores=form.restores, changes=form.changes)
    made.exact = (*form.exact, type(None)) if form.exact else ()
    return made
