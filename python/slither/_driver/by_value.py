"""The functions that a program gives its workers: by reference, or by value where it allows that.

A function by value is a pickle, signed, in a table on BEAM, from which each worker takes it once.
It is pickled for each use, as what it refers to may have changed; the same pickle is sent once.
BEAM has it for as long as somebody holds its :class:`Reference`. Whichever thread names a
function runs this.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from importlib.util import find_spec
from types import FunctionType
from typing import TYPE_CHECKING, NamedTuple

from slither import _by_value
from slither._driver import functions
from slither._errors import BeamError, NotImportable
from slither._pipe.document import stages
from slither._references import name_of
from slither._script import found_in_main, is_found
from slither._types import Payload
from slither._wire.batches import LIMIT
from slither._wire.codec import Codec, encode
from slither._wire.objects import DataFirst, Objects
from slither._words import said

if TYPE_CHECKING:
    from slither._driver.connection import Connection

# Pickles of functions that BEAM keeps though nobody holds them: most are used again at once.
_RECENT, _RECENT_BYTES = 64, 1 << 24
# Bytes of a pickle, which stands in a frame with what names it.
_MOST = LIMIT - 1_024
# Classes that it keeps for the workers.
_CLASSES = 4_096


def is_possible() -> bool:
    """Tell whether this program has what it takes."""
    return find_spec("cloudpickle") is not None


class Reference(NamedTuple):
    """The module and the name by which a worker finds a function."""

    module: str
    name: str
    held: Held | None = None
    """What BEAM has of it as long as this is held: where it goes by value."""


class Bound(Reference):
    """That of a partial's function: the arguments that it binds go with each call, as data."""

    partial: functools.partial[object]

    @classmethod
    def of(cls, reference: Reference, partial: functools.partial[object]) -> Bound:
        """Return that of a partial, by that of its function."""
        bound = cls(*reference)
        bound.partial = partial
        return bound


class Held:
    """A function that BEAM has for the workers."""

    __slots__ = ("__weakref__", "key", "size")

    def __init__(self, key: str, size: int) -> None:
        """Take the key of its pickle, and how long that is."""
        self.key, self.size = key, size


class Functions:
    """By reference alone."""

    by_value = False

    def reference(self, function: object) -> Reference:
        """Return by what workers find a function, or raise :class:`slither.NotImportable`."""
        return Reference(*functions.reference(function))

    def called(self, function: object) -> Reference:
        """Return that of what single calls are of, which may be a partial."""
        if isinstance(function, functools.partial):
            return Bound.of(self.reference(function.func), function)
        return self.reference(function)

    def initializer(
        self, function: Callable[..., object] | None, arguments: Sequence[object]
    ) -> list[Payload] | None:
        """Return what a pool has for its initializer."""
        if function is None:
            return None
        encode(list(arguments), "initargs")
        return [*functions.reference(function), list(arguments)]

    def put_in(self, document: dict[str, Payload]) -> list[Held]:
        """Name the functions of a pipe's stages; return what BEAM has of those by value."""
        held = []
        for stage in stages(document):
            named = stage["function"]
            handler = getattr(named, "handler", None)
            if handler is None and self.by_value and stage["module"] == "__main__":
                handler = found_in_main(named)
            if handler is not None:
                found = self.reference(handler)
                stage["module"], stage["function"] = found.module, found.name
                held += [found.held] if found.held is not None else []
        return held

    def facts(self) -> dict[str, Payload]:
        """Return what a pool is told for it."""
        return {}

    def use(self, link: Connection) -> None:
        """Take the connection to the pool."""


class ByValue(Functions):
    """By value, where workers can't import them."""

    by_value = True

    def __init__(self, secret: bytes) -> None:
        """Sign with a secret that the workers of this Beam get, and nobody else."""
        if not is_possible():
            raise ImportError(
                "by_value=True needs cloudpickle: pip install 'slither-beam[pickle]'"
            )
        from slither._pickles import Pickles
        from slither._seal import Seal

        self._secret = secret
        self.objects = Objects(Seal(secret), Pickles(functions.main_module()))
        self._link: Connection | None = None
        self._table = False
        self._numbers = itertools.count(1)
        # Two Beams of a program have two functions of a number.
        self._token = f".{os.urandom(3).hex()}"
        self._known: dict[bytes, weakref.ref[Held]] = {}
        self._recent: OrderedDict[bytes, Held] = OrderedDict()
        self._shelf = _Shelf()
        self._shelved: dict[bytes, Held] = {}
        self.objects.pickles.shelf = self._shelve
        self.objects.renew = self._shelf.renew

    def facts(self) -> dict[str, Payload]:
        """Return the secret."""
        return {"secret": self._secret}

    def use(self, link: Connection) -> None:
        """Take what functions go by."""
        self._link = link
        link.objects, link.codec = self.objects, Codec(self.objects)
        link.piped = Codec(DataFirst(self.objects))

    def reference(self, function: object) -> Reference:
        """Return by what workers find a function, once BEAM has it where it goes by value."""
        try:
            module, name = functions.reference(function)
        except NotImportable:
            if isinstance(function, str) or not callable(function):
                raise
        else:
            if module != "__main__" or isinstance(function, str) or self._is_found(function):
                return Reference(module, name)
        module = str(getattr(function, "__module__", None) or type(function).__module__)
        name = name_of(getattr(function, "func", function))
        data = self._pickled(function, name)
        if isinstance(function, type) and (kept := self._shelve(function)) is not None:
            # Objects that it makes come back by this key, as those do that were sent.
            return Reference(module, _by_value.named(*kept))
        held = self._held(data)
        return Reference(module, _by_value.named(name, held.key), held)

    def initializer(
        self, function: Callable[..., object] | None, arguments: Sequence[object]
    ) -> list[Payload] | None:
        """Return what opens the function and its arguments in a worker that starts."""
        if function is None:
            return None
        name = name_of(getattr(function, "func", function))
        data = self._pickled((function, tuple(arguments)), name)
        return [*_by_value.OPEN, [self.objects.seal.closed(_by_value.START, data)]]

    def called(self, function: object) -> Reference:
        """Return that of what single calls are of; a partial goes once, not with each call."""
        return self.reference(function)

    def _is_found(self, function: object) -> bool:
        return is_found(getattr(function, "__func__", function), self.objects.pickles.script)

    def _pickled(self, value: object, name: str) -> bytes:
        plain = isinstance(value, FunctionType)
        self._shelf.renew()
        pickles = self.objects.pickles
        try:
            data = pickles.apart(value) if plain else pickles.dumps(value)
        except Exception as error:
            why = f"{name} can't go to a worker by value: {said(error)}"
            raise NotImportable(why) from error
        if len(data) > _MOST:
            raise NotImportable(
                f"{name} can't go to a worker by value: with all that it refers to it has "
                f"{len(data)} bytes, and {_MOST} can be sent at once; have it read large data "
                "from a file or a table, or take that in parts, as arguments"
            )
        return data

    def _held(self, data: bytes) -> Held:
        digest = _digest(data)
        known = self._known.get(digest)
        held = None if known is None else known()
        if held is None:
            held = self._given(digest, data)
        self._remember(digest, held)
        return held

    def _given(self, digest: bytes, data: bytes) -> Held:
        # A key is never used again: what deletes the pickle of one may be late.
        key = f"{next(self._numbers)}{self._token}"
        link = self._link
        assert link is not None
        if not self._table:
            link.request("table", {"name": _by_value.TABLE, "type": "set"})
            self._table = True
        sealed = self.objects.seal.closed(_by_value.FUNCTION + key, data)
        status, answer = link.ask_table(0, _by_value.TABLE, "put", ([[key, sealed]],))
        if status:
            raise BeamError(f"a function by value was refused: {answer['message']}")
        held = Held(key, len(data))
        forget = weakref.finalize(held, _forget, link, weakref.ref(self), digest, key)
        forget.atexit = False
        self._known[digest] = weakref.ref(held)
        return held

    def _shelve(self, kind: type) -> tuple[str, str] | None:
        """Return the name and the key by which workers fetch a class; None where it goes along.

        It is looked at once for all values of a frame, as what it refers to may change.
        """
        known = self._shelf.known.get(kind)
        if known is None:
            data = self.objects.pickles.apart(kind)
            digest = _digest(data)
            held = self._shelved.get(digest)
            if held is None:
                if len(self._shelved) >= _CLASSES:
                    return None
                # Objects of it may be anywhere for as long as the Beam lives.
                held = self._shelved[digest] = self._given(digest, data)
            known = self._shelf.known[kind] = (name_of(kind), held.key)
        _by_value.classes[known[1]] = kind
        return known

    def _remember(self, digest: bytes, held: Held) -> None:
        recent = self._recent
        recent[digest] = held
        recent.move_to_end(digest)
        while (
            len(recent) > _RECENT or sum(one.size for one in [*recent.values()]) > _RECENT_BYTES
        ):
            recent.popitem(last=False)


class _Shelf(threading.local):
    """What a thread knows of the classes of the values that it encodes."""

    def __init__(self) -> None:
        self.known: dict[type, tuple[str, str]] = {}

    def renew(self) -> None:
        self.known.clear()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _forget(link: Connection, functions: weakref.ref[ByValue], digest: bytes, key: str) -> None:
    # Whoever has noted the same pickle meanwhile, under another key, has it still.
    owner = functions()
    if owner is not None:
        known = owner._known.get(digest)
        if known is not None and known() is None:
            owner._known.pop(digest, None)
    link.tell_table(_by_value.TABLE, "delete", (key,))
