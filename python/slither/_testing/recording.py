"""A batch that failed, as BEAM has written it to a file, and its answers given again.

Read by :mod:`slither.replay`, whose handler then asks a :class:`Replayer` in BEAM's place.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from slither._errors import DecodeError, ProtocolError, SlitherError
from slither._types import Payload
from slither._wire import frames
from slither._wire.codec import decode, encode

VERSION = 1
_FACTS = {
    "hello": dict,
    "path": list,
    "folder": str,
    "preload": list,
    "main": str,
    "initializer": list,
    "error": dict,
    "errors": dict,
}
_MAGIC = b"SLITHERC"
_HEAD = struct.Struct(">8sII")
_LENGTH = struct.Struct(">I")


class RecordingError(SlitherError):
    """A file that is no recording, or not a whole one."""


class NotRecordedError(SlitherError):
    """A question that the recorded call did not ask."""


class Recording(NamedTuple):
    """What a file holds: facts, the call, and its questions with their answers."""

    facts: dict[str, Payload]
    call: frames.Call
    exchanges: list[tuple[frames.ViewCall | frames.TableCall, frames.ViewReply]]


def read(path: Path) -> Recording:
    """Read a file; :class:`RecordingError` says what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path} can't be read: {error.strerror or error}") from None
    try:
        return _parse(content)
    except (RecordingError, DecodeError, ProtocolError) as error:
        raise RecordingError(f"{path} can't be replayed: {error}") from None


def _parse(content: bytes) -> Recording:
    if len(content) < _HEAD.size or not content.startswith(_MAGIC):
        raise RecordingError("it is no capture of Slither's")
    _, version, checksum = _HEAD.unpack_from(content)
    if version != VERSION:
        raise RecordingError(f"it is of version {version}; this slither reads {VERSION}")
    if zlib.crc32(content[_HEAD.size :]) != checksum:
        raise RecordingError("it is damaged: its checksum is wrong")
    entries = list(_entries(content))
    if len(entries) < 2 or len(entries) % 2:
        raise RecordingError(f"it has {len(entries)} entries, not 2 and a pair for each question")
    facts = decode(entries[0])
    call = frames.parse(entries[1])
    if not isinstance(facts, dict) or not isinstance(call, frames.Call):
        raise RecordingError("it does not begin with facts and a call")
    for name, kind in _FACTS.items():
        if not isinstance(facts.get(name), kind | None):
            raise RecordingError(f"its {name} is a {type(facts[name]).__name__}")
    return Recording(facts, call, list(_exchanges(entries[2:])))


def _entries(content: bytes) -> Iterator[bytes]:
    at = _HEAD.size
    while at < len(content):
        if at + _LENGTH.size > len(content):
            raise RecordingError("it is damaged: it ends in the middle of a length")
        (size,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        if at + size > len(content):
            raise RecordingError("it is damaged: it ends in the middle of an entry")
        yield content[at : at + size]
        at += size


def _exchanges(
    bodies: list[bytes],
) -> Iterator[tuple[frames.ViewCall | frames.TableCall, frames.ViewReply]]:
    for asked, answered in zip(bodies[::2], bodies[1::2], strict=True):
        question, answer = frames.parse(asked), frames.parse(answered)
        if not isinstance(question, frames.ViewCall | frames.TableCall):
            raise RecordingError(f"a {type(question).__name__} stands in a question's place")
        if not isinstance(answer, frames.ViewReply) or answer.id != question.id:
            raise RecordingError("an answer does not belong to its question")
        yield question, answer


class Replayer:
    """Stands in for BEAM: what was asked is answered as it was then.

    The same question, asked several times, gets its answers in their order, and then the last one
    again. Nothing is written to a table.
    """

    def __init__(self, recording: Recording) -> None:
        self._cut = bool(recording.facts.get("cut"))
        self._answers: dict[bytes, deque[frames.Answer]] = {}
        for question, answer in recording.exchanges:
            answers = self._answers.setdefault(_key(question), deque())
            answers.append((answer.status, answer.value))

    def ask_view(
        self, call: int, name: str, mode: int, params: Payload, timeout: int | None
    ) -> frames.Answer:
        """Answer as the view did."""
        given = decode(encode(params, "params"))
        asked = frames.ViewCall(0, call, name, mode, given, timeout)
        return self._answer(asked, f"view {name!r} with {_short(params)}")

    def ask_table(
        self, call: int, table: str, op: str, arguments: tuple[Payload, ...]
    ) -> frames.Answer:
        """Answer as the table did."""
        asked = frames.TableCall(0, call, table, op, decode(encode(list(arguments), op)))
        return self._answer(asked, f"{op} of table {table!r} with {_short(list(arguments))}")

    def tell_table(self, call: int, table: str, op: str, arguments: tuple[Payload, ...]) -> None:
        """Do nothing: what nobody waits for needs no answer."""

    def _answer(self, question: frames.ViewCall | frames.TableCall, shown: str) -> frames.Answer:
        answers = self._answers.get(_key(question))
        if not answers:
            why = (
                "the recording was cut, as it was over its limit"
                if self._cut
                else "the recorded call did not ask it"
            )
            raise NotRecordedError(f"no answer is recorded for {shown}: {why}")
        return answers.popleft() if len(answers) > 1 else answers[0]

    def progress(self, call: int, done: int, total: int | None) -> None:
        """Do nothing: there is nobody to see it."""

    def tell(self, body: bytes) -> None:
        """Take a frame of which nobody is to hear."""

    def hold(self, call: int, run: str) -> None:
        """Do nothing: a run ends with the program."""

    def is_cancelled(self, call: int) -> bool:
        """Nobody cancels."""
        return False


def _key(question: frames.ViewCall | frames.TableCall) -> bytes:
    # Keys are sorted: a handler that builds a dict from a set has another order in each process.
    if isinstance(question, frames.ViewCall):
        return _plain([question.name, question.mode, question.params])
    return _plain([question.table, question.op, question.arguments, 0])


def _plain(value: Payload) -> bytes:
    if isinstance(value, dict):
        pairs = sorted((_plain(key), _plain(part)) for key, part in value.items())
        return b"{" + b"".join(key + part for key, part in pairs) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b"".join(map(_plain, value)) + b"]"
    if isinstance(value, set | frozenset):
        return b"(" + b"".join(sorted(map(_plain, value))) + b")"
    return encode(value)


def _short(value: Payload) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
