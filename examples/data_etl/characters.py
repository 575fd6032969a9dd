"""Characters of Unicode as rows of CSV, and what it is to validate one against a schema.

A schema has a rule for each column. There are three, in ``schemas.json``, each a generation.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

COLUMNS = (
    "code",
    "character",
    "name",
    "category",
    "direction",
    "combining",
    "mirrored",
    "decomposition",
    "numeric",
)
GENERATIONS = (1, 2, 3)


class _Bounds(TypedDict, total=False):
    low: float
    high: float
    choices: list[str]


class Rule(_Bounds):
    """What a column must hold; text is bounded in its length."""

    generation: int
    kind: str
    target: str


class Row(TypedDict):
    """What became of a row: accepted when it has no problems."""

    code: str
    generations: list[int]
    problems: list[str]
    checksum: str


Schema = Mapping[str, Rule]


def load(count: int) -> list[str]:
    """Return so many rows, spread over all characters that have a name."""
    named = [code for code in range(32, sys.maxunicode) if unicodedata.name(chr(code), "")]
    step = max(1, len(named) // count)
    return [_line(chr(code)) for code in named[::step][:count]]


def schema(generation: int) -> dict[str, Rule]:
    """Return the rules of a generation, each with the generation's number."""
    text = Path(__file__).with_name("schemas.json").read_text(encoding="utf-8")
    rules: dict[str, Rule] = json.loads(text)[generation - 1]
    for rule in rules.values():
        rule["generation"] = generation
    return rules


def validate(line: str, rules: Schema) -> Row:
    """Read a row, and hold each of its columns against the rule for it.

    >>> validate("0041,A,LATIN CAPITAL LETTER A,Lu,L,0,N,,", schema(1))["problems"]
    []
    >>> validate("0041,AB,LATIN CAPITAL LETTER A,Lu,L,much,N,,", schema(2))["problems"]
    ['character is longer than 1', 'combining is no int']
    """
    record: dict[str, object] = {}
    problems: list[str] = []
    generations: set[int] = set()
    (values,) = csv.reader([line])
    for column, text in zip(COLUMNS, values, strict=True):
        rule = rules[column]
        generations.add(rule["generation"])
        try:
            record[rule["target"]] = _value(text, rule)
        except ValueError as error:
            problems.append(f"{column} is {error}")
    content = json.dumps([record, problems], sort_keys=True).encode()
    return {
        "code": values[0],
        "generations": sorted(generations),
        "problems": problems,
        "checksum": hashlib.sha256(content).hexdigest()[:16],
    }


def verdict(row: Row) -> str:
    """Name what a row counts as in an audit.

    >>> verdict(validate("0041,A,LATIN CAPITAL LETTER A,Lu,L,0,N,,", schema(2)))
    'generation 2: accepted'
    """
    return f"generation {row['generations'][0]}: {'rejected' if row['problems'] else 'accepted'}"


def checksums(lines: Iterable[str]) -> list[list[str]]:
    """Return the checksums of all rows under each generation."""
    schemas = [schema(generation) for generation in GENERATIONS]
    return [[validate(line, rules)["checksum"] for rules in schemas] for line in lines]


def torn(rows: Sequence[Row], expected: Sequence[Sequence[str]]) -> int:
    """Count the rows that are not what exactly one generation makes of them."""
    return sum(
        len(row["generations"]) != 1 or row["checksum"] != sums[row["generations"][0] - 1]
        for row, sums in zip(rows, expected, strict=True)
    )


def ordered(rows: Sequence[Row], lines: Sequence[str]) -> bool:
    """Say whether there is one row for each line, in the order of the lines."""
    codes = [line.partition(",")[0] for line in lines]
    return [row["code"] for row in rows] == codes


def _line(character: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        [
            f"{ord(character):04X}",
            character,
            unicodedata.name(character),
            unicodedata.category(character),
            unicodedata.bidirectional(character),
            unicodedata.combining(character),
            "NY"[unicodedata.mirrored(character)],
            unicodedata.decomposition(character),
            unicodedata.numeric(character, ""),
        ]
    )
    return text.getvalue()


def _value(text: str, rule: Rule) -> float | str | None:
    kind = rule["kind"]
    if kind == "choice":
        if text not in rule["choices"]:
            raise ValueError(f"{text!r}, which is no choice")
        return text
    if kind == "text":
        _bounded(len(text), rule, "shorter", "longer")
        return text
    if not text:
        return None
    try:
        number = int(text, 16) if kind == "hex" else int(text) if kind == "int" else float(text)
    except ValueError:
        raise ValueError(f"no {kind}") from None
    _bounded(number, rule, "less", "more")
    return number


def _bounded(size: float, rule: Rule, less: str, more: str) -> None:
    if size < rule["low"]:
        raise ValueError(f"{less} than {rule['low']:g}")
    if size > rule["high"]:
        raise ValueError(f"{more} than {rule['high']:g}")
