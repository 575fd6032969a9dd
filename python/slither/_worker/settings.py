"""What BEAM's welcome asks of a worker; the main thread reads it once, at the start.

The annotation of a setting is its check, as for the fields of frames. Settings that are not known
are another version's.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from slither._by_value import SIZE
from slither._types import Payload
from slither._version import MAX_FRAME
from slither._wire import checks as c
from slither._worker.reports import LEAST


class WrongSetting(Exception):
    """A setting that is not what it is to be; the text says which."""


def _is_initializer(value: object) -> bool:
    return value is None or (type(value) is list and list(map(type, value)) == [str, str, list])


def _is_argv(value: object) -> bool:
    # BEAM sends an argument that is not UTF-8 as bytes.
    return type(value) is list and all(type(part) in (str, bytes) for part in value)


def _is_secret(value: object) -> bool:
    return value is None or (type(value) is bytes and len(value) == SIZE)


def _is_limits(value: object) -> bool:
    return value is None or (
        type(value) is dict
        and all(type(name) is str and _is_limit(limit) for name, limit in value.items())
    )


def _is_limit(value: object) -> bool:
    return (
        type(value) is list
        and len(value) in (1, 2)
        and all(part is None or c.is_count(part) for part in value)
    )


_Bool = Annotated[bool, c.of("bool", bool)]
_Strs = Annotated[Sequence[str], c.Rule("list of str", c.are_strs)]
_Level = Annotated[str, c.Rule("level", lambda value: type(value) is str and value in LEAST)]


class Settings(NamedTuple):
    """The settings, with what holds where BEAM says nothing."""

    max_frame: c.Count = MAX_FRAME
    worker: c.MaybeCount = 0
    """Its number in its pool; None of a process that is no worker."""
    preload: _Strs = ()
    paths: _Strs = ()
    credits: c.Count = 100
    """Log and progress frames that may be sent before BEAM gives leave for more."""
    ahead: c.Count = 16
    """Results that a handler that yields may be ahead of their consumer."""
    marker: _Bool = False
    """Whether BEAM has opened the marker."""
    stacks: _Bool = False
    """Whether BEAM has opened the memory for stacks."""
    template: c.MaybeStr = None
    """Where the workers that this process forks reach BEAM; None where it is a worker itself."""
    spans: _Bool = False
    """Whether BEAM sends spans on that it is told of."""
    capture: _Bool = False
    """Whether descriptors 1 and 2 become logs."""
    log_level: _Level = "info"
    main: c.MaybeStr = None
    """The program's script, by its absolute path, or the module it was run as."""
    argv: Annotated[Sequence[str | bytes], c.Rule("list of str or bytes", _is_argv)] = ()
    initializer: Annotated[
        list[Payload] | None, c.Rule("module, name and arguments, or nil", _is_initializer)
    ] = None
    rlimits: Annotated[
        dict[str, list[int | None]] | None, c.Rule("map of limits, or nil", _is_limits)
    ] = None
    """What the system is to hold the worker to: see ``rlimits``."""
    watch: Annotated[
        Sequence[str] | None, c.either(c.Rule("list of str", c.are_strs), "list of str, or nil")
    ] = None
    """Modules to import first, as their files have changed; None where no file is watched."""
    blobs: c.MaybeStr = None
    """The folder in shared memory in which BEAM has values."""
    secret: Annotated[bytes | None, c.Rule("bytes or nil", _is_secret)] = None
    """What code by value is signed with; none in a pool that is no program's own."""


def settings_of(given: dict[str, Payload]) -> Settings:
    """Return the settings of a welcome, or raise :class:`WrongSetting`."""
    known = {name: given[name] for name in Settings._fields if name in given}
    for name, value in known.items():
        rule: c.Rule = Settings.__annotations__[name].__metadata__[0]
        if not rule.check(value):
            shown = "what it is" if name == "secret" else repr(value)
            raise WrongSetting(f"the welcome's setting {name} can't be {shown}")
    return Settings(**known)
