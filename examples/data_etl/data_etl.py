"""What the workers of data_etl run: the work itself is in ``characters``."""

from __future__ import annotations

from collections import Counter
from typing import cast

import characters
from characters import COLUMNS, Row, Schema

from slither import store, views


def load(counts: list[int]) -> list[list[str]]:
    """The rows of CSV."""
    return [characters.load(count) for count in counts]


def checksums(lists: list[list[str]]) -> list[list[list[str]]]:
    """The checksums of all rows under each generation, in one process."""
    return [characters.checksums(lines) for lines in lists]


# coordination: slither
def validate(lines: list[str]) -> list[Row]:
    """Hold rows against the schema of now, and count them in the audit."""
    # One read: the rules are all of one generation, whatever is loaded meanwhile.
    rules = cast(Schema, views.etl_rules(columns=list(COLUMNS)))
    rows = [characters.validate(line, rules) for line in lines]
    audit = store.table("etl_audit")
    for verdict, count in Counter(map(characters.verdict, rows)).items():
        audit.update_counter(verdict, count)
    return rows


# end of coordination
