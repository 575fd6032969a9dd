"""Where the workers of a Beam run, and what each has alone: checked, and as BEAM gets it.

Pure, but for the user's function, which is called in the thread that makes the Beam.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from slither import _options
from slither._types import Payload

Env: TypeAlias = "Mapping[str, str | int | float | None]"
Each: TypeAlias = "Callable[[int], Mapping[str, Env]] | Sequence[Mapping[str, Env]]"
"""What each worker has alone: variables, by a function of a number or in a list."""
Gpu: TypeAlias = int | str
Gpus: TypeAlias = "Literal['auto'] | Sequence[Gpu | Sequence[Gpu]]"
"""GPUs to share out, by number or name."""
Cpus: TypeAlias = "Literal['spread'] | Sequence[Sequence[int]]"
"""Cpus to share out, a list or range of them for each worker."""

_NAME = re.compile(r"[\w:/.-]+", re.ASCII)
# The numbers that a mask of the system has.
_MOST = 8_192


def placement(
    each: Each | None, gpus: Gpus | None, cpus: Cpus | None, workers: int
) -> dict[str, Payload]:
    """Return where so many workers run, as BEAM gets it.

    >>> placement(lambda n: {"env": {"PORT": 9000 + n}}, None, None, 2)
    {'each': [{'env': {'PORT': '9000'}}, {'env': {'PORT': '9001'}}]}
    >>> placement(None, "auto", [range(2), [2, 3]], 2)
    {'gpus': 'auto', 'cpus': [[0, 1], [2, 3]]}
    """
    facts: dict[str, Payload] = {}
    if each is not None:
        facts["each"] = _each(each, workers)
    if gpus is not None:
        facts["gpus"] = _options.checked("gpus", gpus, _GPUS)
        if not isinstance(gpus, str):
            facts["gpus"] = [one if isinstance(one, int | str) else list(one) for one in gpus]
    if cpus is not None:
        facts["cpus"] = _options.checked("cpus", cpus, _CPUS)
        if not isinstance(cpus, str):
            facts["cpus"] = [list(one) for one in cpus]
    return facts


def _each(each: Each, workers: int) -> list[dict[str, dict[str, str | None]]]:
    if not callable(each):
        _options.checked("each", each, _EACH)
        return [_entry(one, f"each[{at}]") for at, one in enumerate(each)]
    return [_entry(each(number), f"each({number})") for number in range(workers)]


def _entry(entry: object, called: str) -> dict[str, dict[str, str | None]]:
    env = entry.get("env") if isinstance(entry, Mapping) and list(entry) == ["env"] else None
    if not isinstance(env, Mapping) or not all(map(_is_variable, env.items())):
        raise ValueError(f"{called} is a dict of env, a dict of variables, not {entry!r:.80}")
    return {"env": {name: None if text is None else str(text) for name, text in env.items()}}


def _is_variable(pair: tuple[object, object]) -> bool:
    name, value = pair
    text = value is None or isinstance(value, str | int | float)
    return text and isinstance(name, str) and name != "" and not set("=\0") & set(name)


def _listed(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) > 0


def _is_gpu(value: object) -> bool:
    if isinstance(value, str):
        return _NAME.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_gpus(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and _listed(value)
        and all(_is_gpu(one) or (_listed(one) and all(map(_is_gpu, one))) for one in value)
    )


def _are_cpus(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and _listed(value)
        and all(
            _listed(group) and all(type(cpu) is int and 0 <= cpu < _MOST for cpu in group)
            for group in value
        )
    )


_EACH: _options.Check = ("a function of a worker's number, or a list of dicts", _listed)
_GPUS: _options.Check = (
    "'auto', or a list of GPUs by number or name, or of lists of them",
    lambda value: value == "auto" or _are_gpus(value),
)
_CPUS: _options.Check = (
    "'spread', or a list of lists or ranges of cpus",
    lambda value: value == "spread" or _are_cpus(value),
)
