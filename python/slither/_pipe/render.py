"""Expressions' data as Python writes it, for errors and drawings.

Pure; called by expressions, by drawings, and where an expression has no value for an item.
"""

from __future__ import annotations

from slither._types import Payload

LONGEST = 200
_LONGEST_TEXT = 60
_INFIX = {"==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "//", "%"}
_JOINED = {"and": " & ", "or": " | "}
_OPERATORS = {"not", "neg", *_INFIX, *_JOINED}


def render(data: Payload) -> str:
    """Show an expression, in at most some 200 characters."""
    return _shorten(_text(data), LONGEST)


def _text(data: Payload) -> str:
    if not isinstance(data, list):
        return _constant(data)
    name, *parts = data
    if name in ("item", "error"):
        return str(name)
    if name in _JOINED:
        return _JOINED[name].join(map(_operand, parts))
    if name in _INFIX:
        return f"{_operand(parts[0])} {name} {_operand(parts[1])}"
    if name in ("not", "neg"):
        return f"{'~' if name == 'not' else '-'}{_operand(parts[0])}"
    if name in ("skip", "fail"):
        return f"{name}({_text(parts[0])})"
    if name in ("list", "dict", "when"):
        return _form(name, parts)
    if name == "get" and len(parts) == 2:
        return f"{_operand(parts[0])}[{_text(parts[1])}]"
    if name == "in" and not isinstance(parts[0], list):
        return f"{_operand(parts[1])}.contains({_text(parts[0])})"
    method = "is_in" if name == "in" else name
    return f"{_operand(parts[0])}.{method}({', '.join(map(_text, parts[1:]))})"


def _form(name: str, parts: list[Payload]) -> str:
    if name == "list":
        return f"[{', '.join(map(_text, parts[0]))}]"
    if name == "dict":
        return "{" + ", ".join(f"{_text(key)}: {_text(value)}" for key, value in parts[0]) + "}"
    cases = ".".join(f"when({_text(when)}).then({_text(then)})" for when, then in parts[0])
    return f"{cases}.otherwise({_text(parts[1])})"


def _operand(data: Payload) -> str:
    text = _text(data)
    if isinstance(data, list) and data[0] in _OPERATORS:
        return f"({text})"
    if isinstance(data, int | float) and not isinstance(data, bool) and data < 0:
        return f"({text})"
    return text


def _constant(value: Payload) -> str:
    if isinstance(value, str):
        return f'"{"".join(map(_escape, _shorten(value, _LONGEST_TEXT)))}"'
    return repr(value)


def _escape(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if ord(char) < 0x20 or ord(char) == 0x7F:
        return f"\\x{ord(char):02x}"
    return char


def _shorten(text: str, most: int) -> str:
    return text[: most - 1] + "…" if len(text) > most else text
