"""What handlers know of their trace."""

from slither.worker import context


def seen():
    return context().trace
