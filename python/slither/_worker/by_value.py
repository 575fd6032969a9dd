"""What came to a worker by value: functions, from the table on BEAM, and its initializer.

Only what the program that started this worker has signed is opened: it sends its secret with the
welcome. The workers of BEAM's own pools have none, and refuse. The main thread opens functions,
as it resolves a call's target; each pickle is fetched once and kept, up to a limit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from weakref import WeakKeyDictionary

from slither import _by_value
from slither._by_value import Kept
from slither._errors import NotImportable
from slither._pickles import Pickles
from slither._seal import Broken, Seal
from slither._types import Payload
from slither._wire.objects import Objects
from slither._worker import current
from slither._worker.failure import Failure, Raised

# How many functions are kept, and the bytes of their pickles.
_MOST, _MOST_BYTES = 256, 1 << 26


class Refused(NotImportable):
    """What is not opened here; the text says why."""


class _Known:
    """A pickle that is here, and the function that was made of it."""

    __slots__ = ("call", "data", "made")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.made: Callable[..., Payload] | None = None
        self.call = -1
        """The call that it was made for, where others are to get one of their own."""


_known: OrderedDict[str, _Known] = OrderedDict()
_classes: WeakKeyDictionary[type, Kept] = WeakKeyDictionary()


def function(kept: Kept) -> Callable[..., Payload]:
    """Return a function of the program that started this worker, or raise :class:`Refused`.

    Functions and classes are made once. A bound method, a partial, and any other object that can
    be called is made for each call, as an argument is: what one call changes in it, the next
    does not see.
    """
    known = _known.get(kept.key)
    if known is None:
        known = _known[kept.key] = _Known(_fetched(kept))
        _forget_some()
    _known.move_to_end(kept.key)
    now = current.running_id()
    if known.made is None or known.call not in (-1, now):
        made: Payload = _objects(kept.name).pickles.loads(known.data)
        lasts = isinstance(made, FunctionType | BuiltinFunctionType | type)
        if isinstance(made, type):
            _classes[made] = kept
        known.made, known.call = made, -1 if lasts else now
    return known.made


def start(sealed: bytes) -> None:
    """Call the program's initializer with its arguments."""
    objects = _objects("the initializer")
    initializer, arguments = objects.unsealed(_by_value.START, sealed, "the initializer")
    initializer(*arguments)


def objects(secret: bytes) -> Objects:
    """Return what opens, in this worker, what its program has sealed, and seals for it."""
    pickles = Pickles(current.main, _load)
    pickles.shelf = _classes.get
    _by_value.find = function
    return Objects(Seal(secret), pickles, (Failure, Raised))


def _fetched(kept: Kept) -> memoryview:
    link, objects = current.link, _objects(kept.name)
    answer = None
    if link is not None:
        key = (kept.key,)
        answer = link.ask_table(current.call_id(), _by_value.TABLE, "get", key)
    if answer is None:
        raise Refused(f"{kept.name} went by value, and BEAM is gone")
    status, found = answer
    if status or not found:
        raise Refused(f"{kept.name} went by value, and BEAM does not have it any more")
    try:
        return objects.seal.opened(_by_value.FUNCTION + kept.key, found[0])
    except Broken as broken:
        raise Refused(f"{kept.name} went by value, and {broken}") from None


def _objects(name: str) -> Objects:
    if current.objects is None:
        raise Refused(
            f"{name} went by value, which only the workers of the program take that sent it "
            "(slither.Beam(by_value=True)); here, name a function of a module"
        )
    return current.objects


def _load(main: str) -> object:
    from slither._worker import script

    return script.load(main)


def _forget_some() -> None:
    while len(_known) > _MOST or (
        len(_known) > 1 and sum(len(known.data) for known in _known.values()) > _MOST_BYTES
    ):
        _known.popitem(last=False)
