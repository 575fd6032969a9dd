"""A function that runs whichever function it is given the name of.

The calls of a session go as calls of this one, so that they are one run and keep their order. The
main thread of a worker runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slither._errors import NotImportable
from slither._typed.functions import called
from slither._types import Payload
from slither._worker import reads
from slither._worker.targets import TargetError, resolve


def call(
    module: str, name: str, arguments: Sequence[Payload], named: Mapping[str, Payload]
) -> Payload:
    """Call a function of a module; a coroutine is returned as it is, for whoever awaits it."""
    try:
        function = resolve(["apply", module, name])
    except TargetError as error:
        raise NotImportable(str(error)) from None
    if reads.says(function):
        reads.close([arguments, named])
    return called(function)(*arguments, **named)
