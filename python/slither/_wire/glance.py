"""What a frame is and whom it is for, without reading the rest of it.

Pure: whoever reads frames asks, in the thread that reads.
"""

from __future__ import annotations

# How many bytes an unsigned integer has behind its first.
_UINTS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}


def kind_and_id(body: bytes | bytearray) -> tuple[int, int]:
    """Read the kind and the id of a frame without the rest; -1 and 0 where they are not plain.

    >>> kind_and_id(bytes([0x93, 34, 0xCD, 1, 44, 1]))
    (34, 300)
    """
    if len(body) < 3 or body[0] & 0xF0 != 0x90:
        return -1, 0
    kind, first = body[1], body[2]
    if first < 0x80:
        return kind, first
    number = body[3 : 3 + _UINTS.get(first, 0)]
    whole = len(number) == _UINTS.get(first)
    return kind, int.from_bytes(number, "big") if whole else 0
