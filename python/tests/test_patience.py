from slither._patience import Patience

SLOW, QUICK = 60_000, 10_000


def answers(patience: Patience, count: int, asleep: int, looking: int) -> list[bool]:
    looked = []
    for _ in range(count):
        looked.append(patience.looks)
        patience.took(looking if patience.looks else asleep)
    return looked


def test_it_looks_for_answers_where_waking_up_is_slow() -> None:
    looked = answers(Patience(), 400, asleep=SLOW, looking=QUICK)
    assert sum(looked[200:]) > 180


def test_it_sleeps_where_that_is_as_quick() -> None:
    looked = answers(Patience(), 400, asleep=QUICK, looking=QUICK)
    assert sum(looked[200:]) < 20


def test_it_changes_its_way_with_the_machine() -> None:
    patience = Patience()
    answers(patience, 400, asleep=SLOW, looking=QUICK)
    assert sum(answers(patience, 1_000, asleep=QUICK, looking=SLOW)[500:]) < 50
    assert sum(answers(patience, 1_000, asleep=SLOW, looking=QUICK)[500:]) > 450


def test_answers_that_take_long_are_not_looked_for() -> None:
    looked = answers(Patience(), 400, asleep=5_000_000, looking=5_000_000)
    assert sum(looked[200:]) < 20
