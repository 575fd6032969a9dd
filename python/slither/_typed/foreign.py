"""Forms of records that other libraries make by rules of their own: msgspec and pydantic.

Nothing is imported for them: a class of theirs says that its library is loaded.
:mod:`slither._typed.build` asks, and a worker's main thread, or a program's, converts.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from slither._typed.form import LOST, NEVER, OWN, POOR, Build, Form
from slither._typed.mismatch import Mismatch, is_data, step_of
from slither._words import said

# What msgspec says of where a value was: behind the reason, with "$" for the outermost value.
_WHERE = re.compile(r"(?P<reason>.*) - at `(?P<what>key in )?\$(?P<path>.*)`", re.DOTALL)


def form_of(kind: type, annotation: object, build: Build) -> Form | None:
    """Return the form of a class of these libraries; None for any other."""
    if hasattr(kind, "__struct_fields__") and "msgspec" in sys.modules:
        return _of_msgspec(kind, annotation, build)
    if hasattr(kind, "model_validate") and hasattr(kind, "__pydantic_validator__"):
        return _of_pydantic(kind, kind.model_validate, build)
    if hasattr(kind, "__pydantic_validator__"):
        from pydantic import TypeAdapter

        return _of_pydantic(kind, TypeAdapter(kind).validate_python, build)
    if hasattr(kind, "parse_obj") and hasattr(kind, "__fields__"):
        # A model of pydantic 1, or of pydantic.v1.
        return _of_pydantic(kind, kind.parse_obj, build)
    return None


def _form(kind: Any, make: Callable[[Any], Any], needed: frozenset[str]) -> Form:
    name = kind.__name__

    def convert(value: Any) -> Any:
        return value if isinstance(value, kind) or not is_data(value) else make(value)

    def fit(value: Any) -> float:
        if isinstance(value, kind):
            return OWN
        if isinstance(value, dict):
            return LOST if needed <= value.keys() else POOR
        return POOR if isinstance(value, list | tuple) else NEVER

    return Form(name, convert, fit, restores=True)


def _of_msgspec(kind: Any, annotation: object, build: Build) -> Form:
    import msgspec

    def hook(inner: Any, value: Any) -> Any:
        # What msgspec knows nothing of, such as a Path or an array.
        return build(inner).convert(value)

    def make(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation, dec_hook=hook)
        except msgspec.ValidationError as error:
            raise _of_theirs(error) from error.__cause__
        except Exception as error:
            raise Mismatch(f"msgspec can't make a {kind.__name__}: {said(error)}") from error

    fields = msgspec.structs.fields(kind)
    form = _form(kind, make, frozenset(one.encode_name for one in fields if one.required))
    try:
        msgspec.msgpack.Decoder(annotation, dec_hook=hook)
    except Exception as error:  # noqa: BLE001 - such as a union that msgspec does not tell apart
        form.unread = (f"msgspec can't make a {kind.__name__}: {said(error)}",)
    return form


def _of_theirs(error: Exception) -> Mismatch:
    text = str(error)
    where = _WHERE.fullmatch(text)
    mismatch = Mismatch(text if where is None else where["reason"])
    if where is not None:
        mismatch.at(where["path"])
    return mismatch


def _of_pydantic(kind: Any, validate: Callable[..., Any], build: Build) -> Form:
    fields = getattr(kind, "__pydantic_fields__", None) or getattr(kind, "__fields__", {})
    # What was a model goes by the names of its fields, and other data may go by their aliases.
    by_name = "by_name" in inspect.signature(validate).parameters
    options = {"by_name": True, "by_alias": True} if by_name else {}

    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", {})
    is_strict = isinstance(config, dict) and config.get("strict") is True

    def make(value: Any) -> Any:
        if is_strict and isinstance(value, dict):
            # It takes no text for a member of an Enum, which is what such a member is sent as.
            value = {key: _part(fields.get(key), item, build) for key, item in value.items()}
        try:
            return validate(value, **options)
        except Exception as error:  # noqa: BLE001 - theirs, or of a validator of the user's
            raise _refusal(kind.__name__, error) from error.__cause__

    return _form(kind, make, frozenset(_needed(fields)))


def _part(field: Any, value: Any, build: Build) -> Any:
    try:
        return value if field is None else build(field.annotation).convert(value)
    except Mismatch:
        return value


def _needed(fields: dict[str, Any]) -> Iterator[str]:
    for name, field in fields.items():
        alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
        required = getattr(field, "is_required", None) or getattr(field, "required", False)
        # One with an alias may go by either name.
        if alias in (None, name) and (required() if callable(required) else required):
            yield name


def _refusal(name: str, error: Exception) -> Mismatch:
    try:
        told: list[dict[str, Any]] = error.errors()  # type: ignore[attr-defined]
        first = told[0]
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        mismatch = Mismatch(f"{first['msg']}{more}")
        for step in reversed(first["loc"]):
            mismatch.at(step_of(step) if isinstance(step, int) else f".{step}")
        return mismatch
    except Exception:  # noqa: BLE001 - another exception, of a validator of the user's
        return Mismatch(f"{name} refused it: {said(error)}")
