"""What goes wrong is told to those who write Python in the words of Python."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import driven
import pooled
import pytest

import slither
from slither import Pipe, item
from slither._driver.pool_options import POOL
from slither._types import Payload

ELIXIR = re.compile(
    r"""%\{ | (?<![\w"']):[a-z_]+\b | \bnil\b | => | \w/\d\b
      | \b[a-z_]+:\ (?=[\d\[{:]|nil|true|false) | config\ : | Slither\.[A-Z]
      | \d\ ms\b | :infinity | tables/0 | [a-z]:(?=,\ or\ )""",
    re.VERBOSE,
)
"""Notation that only Elixir has, times in ms among it."""


def test_the_notation_is_found() -> None:
    for text in (
        "tables/0: %{name: :a}",
        "raise timeout:, or lower batch_size",
        "got nil",
        "on_session_lost: :rebind",
        "Slither.Session.stop/1",
        "for more than 30 ms",
    ):
        assert ELIXIR.search(text)
    for text in ("table 't': no key", "raise timeout=, or lower batch_size", 'item["x"]: none'):
        assert not ELIXIR.search(text)


def lost(beam: slither.Beam) -> Payload:
    with pytest.raises(slither.WorkerDied):
        beam.submit_with(pooled.die, session="words").result()
    try:
        return beam.submit_with(pooled.pid, session="words").result()
    finally:
        beam.end_session("words")


def counted(beam: slither.Beam) -> Payload:
    table = beam.table("words")
    table["a"] = "text"
    return table.update_counter("a")


WRONG: dict[str, Callable[[slither.Beam], Payload]] = {
    "an unknown table": lambda beam: beam.submit(pooled.row, "no_such").result(),
    "a counter of a text": counted,
    "a folder that can't be": lambda beam: beam.table("words_kept", durable="/proc/1/no"),
    "a pipe's pool": lambda beam: beam.run(Pipe("p").python("s", driven.echo, pool="gpu"), [1]),
    "a pipe's store": lambda beam: beam.run(Pipe("p").store("zz").beam("s", item), [1]),
    "a command": lambda beam: beam.run(Pipe("p").python("s", command="none"), [1]),
    "a function of BEAM": lambda beam: beam.run(Pipe("p").beam("s", "none"), [1]),
    "an expression": lambda beam: beam.run(Pipe("p").beam("s", item["x"]), [{"y": 1}]),
    "an operation on None": lambda beam: beam.run(Pipe("p").beam("s", item.upper()), [None]),
    "a call over its time": lambda beam: beam.submit_with(time.sleep, [9], timeout=0.05).result(),
    "an item over its time": lambda beam: list(beam.map(time.sleep, [9], timeout=0.05)),
    "a worker's death": lambda beam: beam.submit(pooled.die).result(),
    "a lost session": lost,
    "a module": lambda beam: beam.submit("no_such_module:f").result(),  # type: ignore[call-overload]
    "a result": lambda beam: beam.submit(object).result(),
    "an item's result": lambda beam: list(beam.map(pooled.unsendable, [1])),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_speaks_python(beam: slither.Beam, name: str) -> None:
    with pytest.raises(slither.SlitherError) as caught:
        WRONG[name](beam)
    # The traceback in the worker is the cause, and no words of ours.
    said = str(caught.value).partition("sys.path")[0]
    assert not ELIXIR.search(said), said


def test_what_beam_logs_speaks_python(
    beam: slither.Beam, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(slither.WorkerDied):
        beam.submit(pooled.die).result()
    assert list(beam.map(driven.echo, [1])) == [1]
    lines = [record.getMessage() for record in caplog.records if record.name == "slither.beam"]
    assert [line for line in lines if "died: exit status 3; it ran pooled.die" in line]
    assert not [line for line in lines if ELIXIR.search(line)]


def test_the_options_of_a_pool_are_those_that_beam_takes() -> None:
    source = Path(__file__).parents[2] / "beam/lib/slither/driver/options.ex"
    found = re.search(r"@pool ~w\((.*?)\)a", source.read_text(), re.DOTALL)
    assert found is not None
    own = {
        "size",
        "start",
        "each",
        "gpus",
        "cpus",
        "python",
        "preload",
        "paths",
        "env",
        "cd",
        "main",
        "argv",
        "initializer",
        "watch",
    }
    assert set(found[1].split()) == own | POOL.keys()


def test_who_asks_a_closed_beam_is_told_that_it_is_closed(escript: None) -> None:
    with slither.Beam(workers=1) as beam:
        table = beam.table("closed")
        results = beam.map(driven.double, range(1_000_000))
        assert next(results) == 0
    for ask in (
        lambda: beam.submit(driven.echo, 1),
        lambda: list(beam.map(driven.echo, [1])),
        lambda: next(results),
        lambda: table["a"],
        lambda: beam.run(Pipe("p").beam("a", item), [1]),
        lambda: list(beam.stream(Pipe("p").beam("a", item), [1])),
        beam.status,
        beam.restart,
        lambda: beam.resize(2),
        lambda: beam.end_session("a"),
        lambda: beam.table("another"),
    ):
        with pytest.raises(slither.BeamClosed):
            ask()
