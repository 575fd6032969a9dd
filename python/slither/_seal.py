"""The signature on what goes by value between a program and the workers that it started.

Whoever has the Beam's secret made it, and nobody else can. Pure; a program signs and a worker
checks, and the other way round for results, each in the thread that has the bytes.
"""

from __future__ import annotations

import hashlib
import os

from slither._by_value import SIZE


class Broken(Exception):
    """Bytes that nobody with this secret has signed; the text says so."""


def secret() -> bytes:
    """Return a new secret."""
    return os.urandom(SIZE)


class Seal:
    """Signs bytes, and opens what it has signed: in another process, too, with the same secret.

    >>> seal = Seal(secret())
    >>> bytes(seal.opened("value", seal.closed("value", b"data")))
    b'data'
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """Take the secret of a Beam."""
        self._secret = secret

    def closed(self, what: str, data: bytes) -> bytes:
        """Return the signature and the data; it is opened as the same ``what`` alone."""
        return self._signature(what, data) + data

    def opened(self, what: str, sealed: bytes | bytearray | memoryview) -> memoryview:
        """Return the data, or raise :class:`Broken`."""
        from hmac import compare_digest

        whole = memoryview(sealed)
        data = whole[SIZE:]
        if not compare_digest(whole[:SIZE], self._signature(what, data)):
            raise Broken("its signature is not of this program and its workers")
        return data

    def _signature(self, what: str, data: bytes | memoryview) -> bytes:
        made = hashlib.blake2b(key=self._secret, digest_size=SIZE)
        name = what.encode()
        # With its length before it, a name can't run into the data.
        made.update(len(name).to_bytes(4, "big") + name)
        made.update(data)
        return made.digest()
