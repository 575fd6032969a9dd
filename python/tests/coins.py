"""A registered type, which a worker knows once it has imported this module for a call."""

from __future__ import annotations

import slither
from slither.worker import batch_handler


class Coin:
    """A number of cents, of which what comes is not negative."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coin) and self.cents == other.cents

    def __hash__(self) -> int:
        return hash(self.cents)

    def __repr__(self) -> str:
        return f"Coin({self.cents})"


def _made(data: list[int]) -> Coin:
    if data[0] < 0:
        raise ValueError(f"no coin has {data[0]} cents")
    return Coin(data[0])


# A list, which is no key, for what is one.
slither.register(Coin, lambda coin: [coin.cents], _made, name="tests.Coin")


def doubled(coin: object) -> Coin:
    assert type(coin) is Coin, coin
    return Coin(2 * coin.cents)


def in_debt(coin: Coin) -> Coin:
    return Coin(-coin.cents)


@batch_handler("coins_doubled")
def all_doubled(coins: list[Coin]) -> list[Coin]:
    return [doubled(coin) for coin in coins]


def counted(purse: dict[Coin, set[Coin]]) -> list[int]:
    return sorted(coin.cents for coins in purse.items() for coin in (coins[0], *coins[1]))


def total(*coins: Coin, tip: Coin) -> int:
    return sum(doubled(coin).cents for coin in (*coins, tip))


def kept(name: str) -> int:
    coin: Coin = slither.store.table("purse")[name]
    return coin.cents
