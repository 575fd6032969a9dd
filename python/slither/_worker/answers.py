"""What the answer to a question comes to: its value, or the exception of its kind.

Views and tables call it, in the thread that asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from slither._errors import EncodeError, ProtocolError, SlitherError
from slither._wire import late

if TYPE_CHECKING:
    from slither._types import Payload
    from slither._wire.frames import Answer

Make = Callable[[str, str], SlitherError]
"""Makes an exception of the name of what was asked, and a reason."""


class Failures(NamedTuple):
    """The exceptions of one sort of question."""

    kinds: Mapping[str, Make]
    other: Make
    """For kinds that this version does not know."""
    unsent: Make
    lost: Make


def value_of(ask: Callable[[], Answer | None], name: str, failures: Failures) -> Payload:
    """Ask, and return the value of the answer, or raise why there is none."""
    try:
        reply = ask()
    except (EncodeError, ProtocolError) as error:
        raise failures.unsent(name, str(error)) from None
    except (EOFError, OSError) as error:
        raise failures.lost(name, f"BEAM closed the connection: {error}") from None
    if reply is None:
        raise failures.lost(name, "BEAM closed the connection")
    status, value = reply
    if status == 0:
        return late.made(value) if late.ever() else value
    facts = value if isinstance(value, dict) else {}
    kind = failures.kinds.get(str(facts.get("kind")), failures.other)
    raise kind(name, str(facts.get("message", "no reason given")))
