"""What a Beam is asked for as its dashboard, checked, and where the page is told.

Called in the thread that makes the Beam.
"""

import ipaddress
import logging
import re
import sys
from collections.abc import Mapping
from typing import Annotated, TypeAlias, TypedDict

from slither import _options
from slither._options import Check, whole
from slither._types import Payload

_PORT: Check = whole(0, 65_535)
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")


def _is_address(value: object) -> bool:
    try:
        ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return True


def _is_token(value: object) -> bool:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


class DashboardOptions(TypedDict, total=False):
    """Where the page of a Beam is to be, and who may look.

    - ``port``: a port that must be free, 0 for any that is; without it 4040 or one of the next;
    - ``ip``: the address to listen on, loopback by default; any other takes a token;
    - ``token``: 16 letters, digits and ``-_.~`` or more; where it is needed and not given
      it is made and told;
    - ``hosts``: names, beside ``localhost``, by which browsers may ask on loopback;
    - ``max_clients``: connections at one time (64).
    """

    port: Annotated[int, _PORT]
    ip: Annotated[str, ("an IP address, such as '0.0.0.0'", _is_address)]
    token: Annotated[str, ("a str of 16 or more letters, digits and -_.~", _is_token)]
    hosts: Annotated[list[str], ("a list of str", _are_names)]
    max_clients: Annotated[int, whole(1)]


Dashboard: TypeAlias = bool | int | DashboardOptions

_OPTIONS: dict[str, Check] = {
    name: kept.__metadata__[0] for name, kept in DashboardOptions.__annotations__.items()
}


def dashboard(given: object) -> dict[str, Payload]:
    """Return the setting as BEAM gets it; none where no dashboard is asked for.

    >>> dashboard(False), dashboard(True), dashboard(4041)
    ({}, {'dashboard': True}, {'dashboard': 4041})
    """
    if given is False or given is None:
        return {}
    if given is True:
        return {"dashboard": True}
    if isinstance(given, int):
        return {"dashboard": _options.checked("dashboard", given, _PORT)}
    if not isinstance(given, Mapping):
        raise TypeError(f"dashboard takes True, a port or a dict of options, not {given!r:.80}")
    return {"dashboard": {str(name): _option(name, value) for name, value in given.items()}}


def _option(name: object, value: object) -> Payload:
    name = _options.known("dashboard", name, _OPTIONS)
    if name == "token" and not _is_token(value):
        # Whoever reads the traceback need not know it.
        raise ValueError("dashboard: token is a str of 16 or more letters, digits and -_.~")
    found: Payload = _options.checked(f"dashboard: {name}", value, _OPTIONS[name])
    return list(found) if name == "hosts" else found


def tell(url: str) -> None:
    """Say where the page is: in the log where that shows it, else on stderr."""
    log = logging.getLogger("slither")
    if log.isEnabledFor(logging.INFO):
        log.info("dashboard: %s", url)
    elif sys.stderr is not None:
        sys.stderr.write(f"dashboard: {url}\n")
