"""Handlers that no other test calls: what is counted of them is a test's own."""


def named_apart(items):
    return items
