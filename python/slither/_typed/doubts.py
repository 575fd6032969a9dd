"""What of a function's annotations can't be honoured, in words: for ``slither check``.

Pure but for the look at what the codec takes; run in the process of the command.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from slither._typed.build import form_of
from slither._typed.elements import of_awaited, of_rows
from slither._typed.functions import MARK, Function
from slither._typed.hints import first, signature

# What their classes say of a value is what it can do.
_ABSTRACT = ("abc", "collections.abc", "numbers", "typing", "typing_extensions")


def doubts(
    function: Function, *, one: bool, many: bool, is_sent: Callable[[type], bool]
) -> Iterator[str]:
    """Tell of what the function says and does not get, or can't give.

    ``one`` says that it takes one item, ``many`` that each item has several results; ``is_sent``
    tells whether values of a class can be sent.
    """
    if getattr(function, MARK, True) is False:
        return

    def is_lost(kind: type) -> bool:
        return not _is_abstract(kind) and not is_sent(kind)

    said = signature(function)
    parameter = first(said.parameters)
    if parameter is not None:
        annotation = parameter.annotation if one else of_rows(parameter.annotation)
        form = form_of(annotation)
        for why in form.unread:
            yield f"its parameter {parameter.name}: {why}"
        for kind in filter(is_lost, form.strange):
            name = kind.__name__
            yield (
                f"its parameter {parameter.name} says {name}, which data don't become: make it a "
                f"dataclass, or say slither.register({name}, …)"
            )
    result = of_awaited(said.result)
    for _ in range((not one) + many):
        result = of_rows(result)
    form = form_of(result)
    for why in form.unread:
        yield f"its result: {why}"
    for kind in filter(is_lost, form.strange):
        name = kind.__name__
        yield f"it returns {name}, which can't be sent: slither.register({name}, …) says how"


def _is_abstract(kind: type) -> bool:
    # Its values are of other classes, of which nothing is known.
    return (
        inspect.isabstract(kind)
        or getattr(kind, "_is_protocol", False)
        or kind.__module__ in _ABSTRACT
    )
