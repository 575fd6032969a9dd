"""Exceptions of many kinds, and functions that raise them in workers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import urllib.error
from http.client import HTTPMessage
from typing import NoReturn

from slither._types import Payload


class Status(Exception):
    """Takes other arguments than it keeps, and has an attribute with a default."""

    def __init__(self, text: str, status: int = 500) -> None:
        super().__init__(f"{text} ({status})")
        self.status = status


class Slotted(OSError):
    """Keeps an attribute in a slot, and one behind a property."""

    __slots__ = ("_part", "whole")
    _part: int
    whole: Payload

    @property
    def part(self) -> int:
        return int(self._part)

    @part.setter
    def part(self, value: int) -> None:
        raise AssertionError("no property is set")


class Frozen(ValueError):
    """Refuses whatever sets its attributes, or makes it, in the ways a program has."""

    made = 0

    def __new__(cls, *arguments: object) -> Frozen:
        cls.made += 1
        return super().__new__(cls, *arguments)

    def __init__(self, *arguments: object) -> None:
        type(self).made += 1

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Hostile(Exception):
    """Breaks whoever asks it for anything."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise SystemExit(name)

    def __str__(self) -> NoReturn:
        raise SystemExit("str")

    def __repr__(self) -> NoReturn:
        raise KeyboardInterrupt

    def __reduce__(self) -> NoReturn:
        raise SystemExit("reduce")


class Outer:
    class Inner(LookupError):
        """A class within a class."""


def status(code: int) -> NoReturn:
    raise Status("gone", status=code)


def statuses(codes: list[int]) -> NoReturn:
    status(codes[0])


def hostile(_item: Payload) -> NoReturn:
    raise Hostile


def ends(_item: Payload) -> NoReturn:
    sys.exit(3)


def interrupted(_item: Payload) -> NoReturn:
    raise KeyboardInterrupt("by hand")


def stops(_item: Payload) -> NoReturn:
    raise StopIteration(5)


def unread(_item: Payload) -> Payload:
    return json.loads("{")


def failed(_item: Payload) -> Payload:
    return subprocess.run(["sh", "-c", "echo out; exit 3"], check=True, capture_output=True)


def missing(_item: Payload) -> Payload:
    with open("/none/such") as file:
        return file.read()


def over_http(_item: Payload) -> NoReturn:
    headers = HTTPMessage()
    headers["Retry-After"] = "3"
    raise urllib.error.HTTPError("http://a", 503, "later", headers, io.BytesIO())


def local(_item: Payload) -> NoReturn:
    class Late(TimeoutError, KeyError):
        pass

    error = Late(110, "late")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def chained(_item: Payload) -> None:
    try:
        try:
            dict[str, int]()["key"]
        except KeyError:
            raise ValueError("in between") from OSError(2, "no file")
    except ValueError as inner:
        error = RuntimeError("outer", inner)
        error.__dict__["__notes__"] = ["a note"]
        raise error from inner
