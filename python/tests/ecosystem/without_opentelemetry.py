"""Initializers after which it is as if OpenTelemetry, or a part of it, were not installed."""

from __future__ import annotations

import sys
from typing import Any


def _forget(name: str) -> None:
    modules: dict[str, Any] = sys.modules
    modules[name] = None


def forget_all() -> None:
    _forget("opentelemetry.trace")
    _forget("opentelemetry.context")


def forget_the_sdk() -> None:
    _forget("opentelemetry.sdk.trace")
