from __future__ import annotations

import fuzz
import pytest

from slither._worker.connection import Link


def test_mutated_and_random_frames_are_taken_or_refused_with_a_reason() -> None:
    before = fuzz.peak()
    tallies = fuzz.run(4_000, seed=20_240_229)
    assert [text for tally in tallies.values() for text in tally.broken] == []
    for tally in tallies.values():
        assert tally.taken > 50
        assert tally.refused > 10
    assert fuzz.peak() - before < fuzz.LIMIT


def test_a_seed_gives_the_same_frames_again() -> None:
    first, second, other = (fuzz.Mutator(seed) for seed in (1, 1, 2))
    frames = [first.frame() for _ in range(100)]
    assert [second.frame() for _ in range(100)] == frames
    assert [other.frame() for _ in range(100)] != frames


def test_an_exception_that_is_no_refusal_counts_as_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raises(body: bytes) -> None:
        raise RecursionError(body)

    monkeypatch.setattr(Link, "take", lambda _link, body: raises(body))
    tally = fuzz.Tally()
    fuzz.serve([b"\x92\x0c\x01", b"\x92\x0c\x02"], tally)
    assert len(tally.broken) == 2
