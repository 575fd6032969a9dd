from __future__ import annotations

import os
import threading

from slither._wire.build import frame
from slither._wire.frames import CALL
from slither._worker.connection import Link
from slither._worker.patience import Patience
from slither.erlport import Port

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


class Looking(Port):
    looks = 0

    def look_for_input(self) -> bool:
        self.looks += 1
        return super().look_for_input()


def looks_between(calls: int, items: int) -> int:
    there, here = os.pipe(), os.pipe()
    port = Looking(descriptors=(there[0], here[1]))
    beam = Port(descriptors=(here[0], there[1]))

    def call_one_after_the_other() -> None:
        for number in range(1, calls + 1):
            beam.write(frame(CALL, number, ["command", "same"], {}, 0, 1, [1] * items))
            beam.read()

    thread = threading.Thread(target=call_one_after_the_other)
    thread.start()
    link = Link(port)
    for _ in range(calls):
        assert link.next_call() is not None
        link.send((b"answered",))
    thread.join()
    port.close()
    beam.close()
    return port.looks


def test_a_worker_tries_to_look_for_the_next_small_call() -> None:
    assert looks_between(calls=200, items=1) > 0


def test_a_worker_sleeps_until_the_next_large_call() -> None:
    assert looks_between(calls=200, items=64) == 0
