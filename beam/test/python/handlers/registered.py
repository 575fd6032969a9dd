"""A type of its own, which its worker knows once it has imported this for a call."""

import slither


class Price:
    def __init__(self, currency, cents):
        self.currency, self.cents = currency, cents


def made(parts):
    currency, cents = parts
    if cents < 0:
        raise ValueError(f"no price is {cents}")
    return Price(currency, cents)


slither.register(
    Price, lambda price: (price.currency, price.cents), made, name="slither_test.Price"
)


def doubled(prices):
    return [Price(price.currency, 2 * price.cents) for price in prices]


def zones(moments):
    return [[m.tzinfo.key, m.tzname(), m.isoformat()] for m in moments]


def kinds(values):
    return [type(value).__name__ for value in values]
