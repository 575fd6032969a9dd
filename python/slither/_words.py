"""How errors name a type, and tell of an exception: the words that several layers share.

Pure, but for the ``str()`` of an exception, which is the user's code; called in any thread.
"""

from __future__ import annotations


def article(name: str) -> str:
    """Put "a" or "an" before a name.

    >>> article("int"), article("dict")
    ('an int', 'a dict')
    """
    return f"{'an' if name[:1] in 'aeiouAEIO' else 'a'} {name}"


def said(error: BaseException) -> str:
    """Return what an exception says, behind its name; it never raises.

    >>> said(ValueError("too long")), said(ValueError())
    ('ValueError: too long', 'ValueError')
    """
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - __str__ is the user's code
        text = "its str() failed"
    return f"{name}: {text}" if text else name
